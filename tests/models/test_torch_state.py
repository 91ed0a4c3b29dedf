"""Whatever state torch is in: the same figures, or one line; and that state afterwards."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
import torch
from torch import nn

import chg
from chg.errors import ChgError, ModelError
from chg.models.torch_state import plain_torch
from chg.selftest.planted import copy_rows, planted_model
from support.gates import hooks, logits, tokens

DATA = copy_rows(16)
GATES = torch.full((2, 4), 0.3)
Job = Callable[[nn.Module], Any]


def _fit(model: nn.Module, **settings: Any) -> Any:
    quick = {"max_steps": 3, "batch_size": 8, "show_progress": False}
    return chg.fit_gates(model, DATA, **{**quick, **settings}).gates.logits


JOBS: dict[str, Job] = {
    "evaluate": lambda model: chg.evaluate(model, DATA, GATES).logprob_sums,
    "fit": _fit,
    "ablate": lambda model: chg.ablate_heads(model, DATA, show_progress=False).scores,
    "screen": lambda model: (
        chg.ablate_heads(model, DATA, show_progress=False, screening=True).scores
    ),
    "estimate": lambda model: (
        chg.ablate_heads(model, DATA, show_progress=False, mode="estimate", ablation="mean").scores
    ),
}


@contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    torch.set_default_dtype(dtype)
    try:
        yield
        assert torch.get_default_dtype() == dtype, "the user's own setting is back"
    finally:
        torch.set_default_dtype(torch.float32)


STATES: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "float64": lambda: _default_dtype(torch.float64),
    "float16": lambda: _default_dtype(torch.float16),
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "meta": lambda: torch.device("meta"),
}


@pytest.fixture(scope="module")
def figures() -> dict[str, torch.Tensor]:
    return {name: torch.as_tensor(job(planted_model())) for name, job in JOBS.items()}


@pytest.mark.parametrize("job", JOBS)
@pytest.mark.parametrize("state", STATES)
def test_no_state_of_torch_changes_a_figure(
    job: str, state: str, figures: dict[str, torch.Tensor]
) -> None:
    model = planted_model()
    with STATES[state]():
        found = JOBS[job](model)
    assert torch.equal(torch.as_tensor(found), figures[job])


def test_gates_are_put_on_under_any_default_device() -> None:
    model, gates = planted_model(), GATES.clone()
    with torch.device("meta"):
        handle = chg.attach(model, gates)
    handle.remove()
    with torch.device("meta"), pytest.raises(ChgError, match=r"lie in \[0, 1\]"):
        chg.attach(model, gates + 1)
    assert not hooks(model)


@pytest.mark.parametrize("job", [*JOBS.values(), lambda m: chg.attach(m, torch.ones(2, 4))])
def test_models_that_cannot_be_used_are_named_in_a_line(job: Job) -> None:
    with torch.inference_mode():
        inferring = planted_model()
    for model, message in (
        (planted_model().to("meta"), "has no weights"),
        (inferring, "made under torch.inference_mode"),
    ):
        with pytest.raises(ModelError, match=message) as caught:
            job(model)
        assert "\n" not in str(caught.value)
        assert not hooks(model)


def test_the_random_state_is_the_callers_own() -> None:
    """Also after a pass that drew from it and failed."""

    def draw_and_fail(*_: Any) -> None:
        torch.rand(3)
        raise ValueError("in the middle")

    model = planted_model().train()
    model.transformer.h[1].register_forward_hook(draw_and_fail)
    before = torch.get_rng_state()
    with pytest.raises(ValueError, match="in the middle"):
        chg.evaluate(model, DATA)
    assert torch.equal(torch.get_rng_state(), before)
    assert model.training


def test_states_are_set_aside_once() -> None:
    """A job may set what it needs, though it calls others that set the same aside."""
    with plain_torch(), torch.autocast("cpu", dtype=torch.bfloat16), plain_torch():
        assert torch.is_autocast_enabled("cpu")


def test_one_thread_at_a_time_works_with_a_model() -> None:
    model, refused = planted_model(), []
    alone = _fit(model)

    def disturb() -> None:
        for job in (*JOBS.values(), lambda m: chg.attach(m, torch.ones(2, 4))):
            with pytest.raises(ModelError, match="another thread works with this GPT2"):
                job(model)
            refused.append(job)
        _fit(planted_model(), max_steps=1)  # a model of its own

    def report(_metrics: Any, step: int) -> None:
        if step == 1:
            other = threading.Thread(target=disturb)
            other.start()
            other.join()

    assert torch.equal(_fit(model, report=report), alone)
    assert len(refused) == len(JOBS) + 1
    assert not hooks(model)
    thread = threading.Thread(target=lambda: refused.append(chg.attach(model, torch.ones(2, 4))))
    thread.start()
    thread.join()
    assert torch.equal(_fit(model), alone), "a thread that has ended works with nothing"
    refused[-1].remove()
    assert not hooks(model)


def test_a_copy_of_a_model_is_a_model_of_its_own() -> None:
    """Made under gates or in the middle of a fit, it has neither gates nor another's weights."""
    model, copies = planted_model(), []
    ids = tokens() % 8
    plain = logits(model, ids)
    with chg.gated(model, torch.zeros(2, 4)):
        copies.append(copy.deepcopy(model))
        assert torch.equal(logits(copies[0], ids), plain)
        assert not torch.equal(logits(model, ids), plain)
    _fit(model, report=lambda *_: copies.append(copy.deepcopy(model)))
    for copied in copies:
        assert torch.equal(logits(copied, ids), plain)
        assert torch.equal(_fit(copied), _fit(model))
        for weight in copied.parameters():
            nn.init.zeros_(weight)
        assert not logits(copied, ids).any(), "its own weights"

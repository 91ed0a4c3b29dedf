"""Gates in every form that they are found in, read in one place."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import chg
from chg.errors import ConfigError, GateError
from chg.gating.gate_wrapper import attach, gated
from chg.gating.gates import HeadGates
from chg.gating.sources import StudyChoice, describe_gates, gate_values, resolve_gates
from chg.models.describe import describe_model
from chg.report import Study
from support.example_study import example_study
from support.gates import GATES, logits, tokens, under
from support.rows import ragged_data
from support.tiny_models import HEADS, LAYERS, make_model

ONE_CLOSED = torch.ones(LAYERS, HEADS)
ONE_CLOSED[0, 3] = 0


@pytest.fixture(scope="module")
def tiny() -> nn.Module:
    return make_model("llama_grouped")


@pytest.fixture(scope="module")
def found() -> Study:
    """A study of a model of this shape, seeds 0 to 2."""
    return example_study(LAYERS, HEADS)


def soft(study: Study, stage: Any, seed: int) -> Tensor:
    return torch.sigmoid(torch.tensor(study.logits[stage][seed]))


FORMS: dict[str, Any] = {
    "a name": {"L0H3": 0},
    "a pair": {(0, 3): 0.0},
    "an array": ONE_CLOSED.numpy(),
    "whole numbers": ONE_CLOSED.numpy().astype(int),
    "lists": ONE_CLOSED.tolist(),
    "a tensor": ONE_CLOSED,
    "logits": HeadGates(torch.logit(ONE_CLOSED)),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gates_alike(tiny: nn.Module, form: str) -> None:
    expected = under(tiny, ONE_CLOSED)
    with gated(tiny, FORMS[form]):
        assert torch.equal(logits(tiny, tokens()), expected)
    data = ragged_data()
    scores = chg.evaluate(tiny, data, FORMS[form])
    assert (scores.logprob_sums == chg.evaluate(tiny, data, ONE_CLOSED).logprob_sums).all()


def test_a_file_a_folder_and_a_study_gate_alike(
    tiny: nn.Module, found: Study, tmp_path: Path
) -> None:
    file = HeadGates(torch.logit(GATES)).save(tmp_path / "gates.pt")
    for path in (file, str(file)):
        assert torch.equal(gate_values(resolve_gates(tiny, path)), HeadGates.load(file).values)
    cut = (soft(found, "removal", 0) >= 0.5).float()
    assert torch.equal(gate_values(resolve_gates(tiny, found)), cut)
    with gated(tiny, found) as handle:
        assert torch.equal(handle.gates, cut)
    with gated(tiny, found, stage="retention", seed=2, thresholded=False) as handle:
        assert torch.equal(handle.gates, soft(found, "retention", 2))
    handle = attach(tiny, GATES, thresholded=True)
    assert torch.equal(handle.gates, (GATES >= 0.5).float())
    handle.remove()


def test_gradients_flow_into_tensors(tiny: nn.Module) -> None:
    gates = GATES.clone().requires_grad_()
    closing = torch.tensor(0.5, requires_grad=True)
    with chg.frozen(tiny):
        for given, leaf in ((gates, gates), ({"L1H2": closing}, closing)):
            with gated(tiny, given):
                tiny(tokens()).logits.sum().backward()
            assert leaf.grad is not None
            assert leaf.grad.abs().sum() > 0
        assert not any(weight.requires_grad for weight in tiny.parameters())
    assert all(weight.requires_grad for weight in tiny.parameters())


def test_groups_are_named_too(tiny: nn.Module) -> None:
    matrix = gate_values(resolve_gates(tiny, {"L1G0": 0}))
    assert matrix.tolist() == [[1, 1], [0, 1]]
    whole = gate_values(resolve_gates(tiny, {"L1H0": 0, "L1H1": 0}))
    assert torch.equal(under(tiny, matrix), under(tiny, whole))


REFUSED: dict[str, tuple[Any, str]] = {
    "a set": ({"L0H3"}, "gates are a HeadGates, a Study.*got set"),
    "a number": (0.5, "got float"),
    "rows of unequal length": ([[1, 2], [3]], "this list is no such table"),
    "words": ([["a"]], "this list is no such table"),
    "no head": ({"L0H9": 0}, "the model has no L0H9; the last is L1H3"),
    "no name": ({"0.5": 0}, 'names no head; write "L0H5"'),
    "heads and groups": ({"L0H0": 0, "L0G1": 0}, "names every head once"),
    "a head twice": ({"L0H0": 0, (0, 0): 1}, "names every head once"),
    "no value": ({"L0H0": "shut"}, "the gate of L0H0 must be a number, got 'shut'"),
    "no file": ("nowhere.pt", "gate file nowhere.pt does not exist"),
}


@pytest.mark.parametrize("form", REFUSED)
def test_anything_else_gets_one_clear_error(tiny: nn.Module, form: str) -> None:
    given, message = REFUSED[form]
    with pytest.raises(GateError, match=message) as refused:
        resolve_gates(tiny, given)
    assert "\n" not in str(refused.value)


def test_shapes_stages_and_seeds_that_there_are_not(tiny: nn.Module, found: Study) -> None:
    with pytest.raises(GateError, match=r"\(3, 5\).*2 layers x 4 heads"):
        attach(tiny, np.ones((3, 5)))
    with pytest.raises(GateError, match="no seed 7, only 0, 1, 2"):
        attach(tiny, found, seed=7)
    with pytest.raises(GateError, match="a dict holds one matrix"):
        resolve_gates(tiny, {"L0H0": 0}, StudyChoice(seed=1))
    with pytest.raises(ConfigError, match="3 x 5"):
        chg.fit_gates(tiny, ragged_data(), init=np.ones((3, 5)))
    with pytest.raises(GateError, match=r"must lie in \[0, 1\]"):
        chg.fit_gates(tiny, ragged_data(), init=np.full((2, 4), 2.0))


def test_an_absent_head_may_be_nan() -> None:
    """Layers differ in their heads: what is none is NaN in a study and anything elsewhere."""
    model = make_model("llama")
    hybrid = example_study(LAYERS, HEADS, hybrid=True)
    assert np.isnan(hybrid.logits["removal"][0, 1]).all()
    values = gate_values(resolve_gates(model, hybrid))
    assert values[1].isnan().all()
    assert set(values[0].tolist()) <= {0.0, 1.0}


def test_ablation_and_fits_begin_from_any_form(tiny: nn.Module, found: Study) -> None:
    data, quiet = ragged_data(), {"show_progress": False}
    removal = HeadGates.from_study(found)
    by_hand = chg.ablate_heads(tiny, data, gates=removal, **quiet)
    of_study = chg.ablate_heads(tiny, data, gates=found, **quiet)
    assert (of_study.scores == by_hand.scores).all()
    assert of_study.metadata["gates"]["stage"] == "removal"
    assert of_study.metadata["gates"]["thresholded"]
    named = chg.ablate_heads(tiny, data, gates={"L0H3": 0}, **quiet)
    assert named.metadata["gates"] == {"not_open": {"L0H3": 0.0}}
    short: dict[str, Any] = {"max_steps": 1, **quiet}
    start = HeadGates(torch.tensor(found.logits["initial"][0]))
    expected = chg.fit_gates(tiny, data, init=start, **short)
    assert torch.equal(
        chg.fit_gates(tiny, data, init=found, **short).gates.logits, expected.gates.logits
    )
    moved = chg.fit_gates(tiny, data, init={"L0H3": 0}, **short).gates.logits
    assert moved.abs().max() <= 4, "0 and 1 are out of reach"
    assert describe_gates(None) is None


def test_gates_of_other_weights_warn_once_in_a_line(
    tiny: nn.Module, found: Study, caplog: pytest.LogCaptureFixture
) -> None:
    other = make_model("llama_grouped")
    here = describe_model(other)
    own = HeadGates(torch.zeros(LAYERS, HEADS), here)
    with caplog.at_level(logging.WARNING, "chg"):
        attach(other, own).remove()
        assert not caplog.records
        with torch.no_grad():
            other.lm_head.weight.mul_(2)
        for _ in range(3):
            attach(other, own).remove()
        assert len(caplog.records) == 1
        now = describe_model(other)["weights"]
        assert caplog.messages == [
            f"the gates were fitted on other weights ({here['weights']} there, {now} now)"
        ]
        caplog.clear()
        attach(other, replace(found, manifest={**found.manifest, "model": here})).remove()
        attach(tiny, own).remove()
        assert not caplog.records, "said already, and those are its own"
        old = {key: here[key] for key in ("model", "architecture", "dtype")}
        attach(other, HeadGates(torch.zeros(LAYERS, HEADS), old)).remove()
        assert not caplog.records, "an old file does not say"

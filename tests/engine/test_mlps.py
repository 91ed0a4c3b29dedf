"""Gates on MLP blocks in the engine, against plain passes: nothing shared, nothing in parts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import chg
from chg.config.choices import AblationKind, Recompute
from chg.data.batches import collate
from chg.engine.capabilities import Capabilities, capabilities
from chg.engine.engine import open_engine
from chg.engine.evaluation import evaluate_gates
from chg.engine.prefix_tree import build_tree
from chg.errors import GateError
from chg.gating.gate_wrapper import gated
from chg.gating.references import make_reference
from support.by_hand import KINDS, make_any, rows_for
from support.decoders import build
from support.engines import open_plain_engine
from support.mlps import FAMILIES, fold_all, mlps_by_hand, one_out, soft, sums_of_all
from support.precision import bound
from support.rows import few_shot, plain_sums, ragged_data
from support.tiny_models import HEADS, LAYERS, compute_in_float64, make_model

SHAPE = (LAYERS, HEADS + 1)


def engine_sums(model: nn.Module, matrices: list[Tensor], **how: Any) -> np.ndarray:
    """`[matrix, row]` sums of target log-probabilities, by the engine."""
    data = how.pop("data", ragged_data())
    return np.array([s.logprob_sums for s in evaluate_gates(model, data, matrices, **how)])


def plain(model: nn.Module, matrices: list[Tensor]) -> np.ndarray:
    """The same, by one pass per row with the gates in the weights."""
    return np.array([plain_sums(fold_all(model, gates), ragged_data()) for gates in matrices])


@pytest.mark.parametrize("family", FAMILIES)
def test_every_head_and_every_mlp_closed_alone(family: str) -> None:
    model = build(family)
    matrices = [*one_out(model), soft(model).float()]
    got = engine_sums(model, matrices)
    assert np.abs(got - plain(model, matrices)).max() < bound(model)


@pytest.mark.parametrize("family", ["gpt2", "llama_grouped", "opt", "gpt_neox"])
def test_float32(family: str) -> None:
    model = make_model(family)
    matrices = [*one_out(model), soft(model).float()]
    assert np.abs(engine_sums(model, matrices) - plain(model, matrices)).max() < 1e-3


gate = st.sampled_from([0.0, 0.0, 1.0, 1.0, 0.3])
row = st.tuples(*[gate] * (HEADS + 1))


@settings(max_examples=40, deadline=None)
@given(
    pool=st.lists(row, min_size=1, max_size=3),
    picks=st.lists(st.tuples(*[st.integers(0, 2)] * LAYERS), min_size=1, max_size=9),
    tokens=st.integers(1, 60),
    family=st.sampled_from(["gpt2", "llama_grouped", "gpt_neox", "opt"]),
)
def test_any_list_of_gate_matrices(
    pool: list[tuple[float, ...]], picks: list[tuple[int, ...]], tokens: int, family: str
) -> None:
    """Heads closed up to anywhere, so that MLPs run on scored positions alone and on all."""
    matrices = [torch.tensor([pool[i % len(pool)] for i in pick]) for pick in picks]
    model = compute_in_float64(make_model(family))
    got = engine_sums(model, matrices, tokens_per_pass=tokens, batch_size=3)
    assert np.abs(got - plain(model, matrices)).max() < bound(model)


@pytest.mark.parametrize("mode", ["layers", "whole"])
@pytest.mark.parametrize("family", ["gpt2", "opt"])
def test_models_that_allow_less_give_the_same(
    family: str, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model(family).double()
    outputs = capabilities(model).outputs if mode == "layers" else None
    monkeypatch.setattr("chg.engine.engine.capabilities", lambda _: Capabilities(mode, outputs))  # type: ignore[arg-type]
    got = engine_sums(model, one_out(model))
    assert np.abs(got - plain(model, one_out(model))).max() < bound(model)


def test_an_mlp_branches_at_its_own_layer_and_heads_are_shared_up_to_there() -> None:
    model = make_model("gpt2").double()
    matrices = one_out(model)
    assert [child.start for child in build_tree(matrices).children] == [
        layer for layer in range(LAYERS) for _ in range(HEADS + 1)
    ]
    attention = model.transformer.h[1].attn
    seen: list[int] = []
    closed = torch.ones(SHAPE)
    closed[1, -1] = 0
    engine_sums(model, [closed])  # the checks
    own = attention.forward

    def count(*args: Any, **settings: Any) -> Any:
        seen.append(1)
        return own(*args, **settings)

    attention.forward = count
    engine_sums(model, [torch.ones(SHAPE)], batch_size=9)
    alone = len(seen)
    seen.clear()
    engine_sums(model, [torch.ones(SHAPE), closed], batch_size=9)
    assert len(seen) == alone, "its layer's heads were computed again"


def test_heads_alone_are_as_they_were_beside_open_mlps() -> None:
    """The same bits, with and without the column."""
    model = make_model("llama_grouped")
    heads = [torch.ones(LAYERS, HEADS), torch.rand(LAYERS, HEADS)]
    both = [torch.cat([gates, torch.ones(LAYERS, 1)], dim=1) for gates in heads]
    assert np.array_equal(engine_sums(model, heads), engine_sums(model, both))


@pytest.mark.parametrize("family", ["gpt2", "llama_grouped", "opt", "gpt_neox", "gemma"])
def test_the_gradient_is_that_of_a_plain_forward(family: str) -> None:
    model = compute_in_float64(make_model(family))
    batch = collate(ragged_data().rows, 0)
    start = torch.rand(3, *SHAPE, generator=torch.Generator().manual_seed(0)).double()
    gradients, values = [], []
    for opened in (open_plain_engine, open_engine):
        gates = start.clone().requires_grad_()
        with opened(model) as engine:
            measured = engine.measure(gates, batch)
            (measured * torch.linspace(0.5, 2, measured.numel()).view_as(measured)).sum().backward()
        assert gates.grad is not None
        gradients.append(gates.grad)
        values.append(measured.detach())
    assert gradients[0][..., -1].all()
    assert (values[0] - values[1]).abs().max() < bound(model)
    assert (gradients[0] - gradients[1]).abs().max() < bound(model)
    leaf = start[0].clone().requires_grad_()
    with gated(model, leaf[:, :-1]), mlps_by_hand(model, leaf[:, -1]):
        logits = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits
    logprobs = logits.log_softmax(-1).flatten(0, 1)[batch.scored, batch.tokens]
    counts = torch.bincount(batch.sequences)[batch.sequences]
    (logprobs / counts * torch.linspace(0.5, 2, 15)[:5][batch.sequences]).sum().backward()
    assert leaf.grad is not None
    assert (leaf.grad - gradients[1][0]).abs().max() < bound(model)


@pytest.mark.parametrize("recompute", ["mlp", "layer"])
@pytest.mark.parametrize("family", ["gpt2", "llama", "gpt_neox", "bloom", "gemma2"])
def test_recomputing_changes_no_gradient(recompute: Recompute, family: str) -> None:
    model, batch = build(family), collate(ragged_data().rows, 0)
    gradients = []
    for how in ("none", recompute):
        gates = soft(model)[None].requires_grad_()
        with open_engine(model, recompute=how) as engine:  # type: ignore[arg-type]
            engine.measure(gates, batch).sum().backward()
        assert gates.grad is not None
        gradients.append(gates.grad)
    assert torch.equal(*gradients)


REFERENCES = ["gpt2", "llama_grouped", "gpt_neox", "opt", "lfm2_moe", "bloom", "gemma2"]


@pytest.mark.parametrize(("kind", "per_position"), KINDS)
@pytest.mark.parametrize("family", REFERENCES)
def test_every_head_and_mlp_replaced_alone(
    family: str, kind: AblationKind, per_position: bool
) -> None:
    model, data = make_any(family), rows_for(kind)
    reference = make_reference(model, data, kind, per_position=per_position, unit="head_and_mlp")
    low = soft(model).float()
    low[1:, :-1] = 0  # MLPs run on scored positions alone
    matrices = [*one_out(model)[:1], *one_out(model)[3:7], soft(model).float(), low, 0 * low]
    by_hand = np.array([sums_of_all(model, data, m, (kind, per_position)) for m in matrices])
    for tokens in (7, 10_000):
        got = engine_sums(model, matrices, data=data, reference=reference, tokens_per_pass=tokens)
        assert np.abs(got - by_hand).max() < bound(model)
    row = data.rows[-1].ids
    with gated(model, one_out(model)[-1]), torch.no_grad():
        zero = model(torch.tensor([row])).logits
    assert zero.isfinite().all()


@pytest.mark.parametrize("kind", ["mean", "resample"])
@pytest.mark.parametrize("family", ["gpt2", "opt"])
def test_under_gates_of_the_users_own(family: str, kind: AblationKind) -> None:
    """The engine and plain passes agree on which acts first."""
    model, data = make_any(family), rows_for(kind)
    batch, outer = collate(data.rows, 0), torch.full(SHAPE, 0.5)
    gates = torch.full((1, *SHAPE), 0.3)
    with gated(model, outer), torch.no_grad():
        reference = make_reference(model, data, kind, unit="head_and_mlp")
        with open_engine(model, reference=reference) as engine:
            parts = engine.measure(gates, batch)
        with open_plain_engine(model, reference) as engine:
            whole = engine.measure(gates, batch)
    assert (parts - whole).abs().max() < bound(model)


def test_rows_that_begin_alike() -> None:
    model, data = compute_in_float64(make_model("llama")), few_shot()
    got = engine_sums(model, one_out(model), data=data)
    for gates, sums in zip(one_out(model), got, strict=True):
        with gated(model, gates):
            assert np.abs(sums - plain_sums(model, data)).max() < bound(model)


def test_other_metrics_and_screening() -> None:
    model, data = make_model("gpt2"), ragged_data()
    (open_, closed) = evaluate_gates(
        model, data, [torch.ones(SHAPE), one_out(model)[5]], metric="kl"
    )
    assert open_.metric == pytest.approx(0, abs=1e-6)
    assert closed.metric < 0
    exact, screened = (
        chg.ablate_heads(
            model, data, unit="head_and_mlp", screening=how, show_progress=False
        ).scores
        for how in (False, True)
    )
    assert np.abs(exact - screened).max() < 0.1 * np.abs(exact).max()


def test_a_reference_of_heads_alone_is_refused() -> None:
    model, data = make_model("gpt2"), ragged_data()
    reference = make_reference(model, data, "mean")
    with pytest.raises(GateError, match="of heads alone"):
        evaluate_gates(model, data, [torch.ones(SHAPE)], reference=reference)

"""Ablation against the plainest reference: edited weights, one row at a time, no batching."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import nn

from chg import AblationResult, HeadGates, ablate_heads
from chg.ablation.ablate import head_order
from chg.config.ablation import AblationConfig
from chg.data.tokens import TokenData, TokenRow
from chg.errors import GateError, ModelError
from chg.gating.gate_wrapper import gated
from support.gates import zero_columns
from support.precision import bound
from support.rows import plain_sums, ragged_data
from support.tiny_models import HEADS, LAYERS, VOCAB, compute_in_float64, make_model


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_individual_equals_a_plain_loop_of_weight_edits(model: nn.Module, batch_size: int) -> None:
    data = ragged_data()
    result = ablate_heads(model, data, batch_size=batch_size, show_progress=False)
    counts = data.num_target_tokens
    baseline, tolerance = plain_sums(model, data).sum() / counts, bound(model)
    assert abs(result.baseline - baseline) < tolerance
    for head in result.heads:
        edited = zero_columns(model, head.layer, head.head)
        assert abs(head.score - (plain_sums(edited, data).sum() / counts - baseline)) < tolerance
    assert len(result.heads) == LAYERS * HEADS


@pytest.mark.parametrize("order", ["forward", "backward", "random"])
def test_sequential_equals_a_plain_loop(order: str) -> None:
    model = compute_in_float64(make_model("llama_grouped"))
    data = ragged_data()
    gates = HeadGates(torch.randn(LAYERS, HEADS, generator=torch.Generator().manual_seed(0)))
    result = ablate_heads(
        model, data, mode="sequential", ablation_order=order, gates=gates, show_progress=False
    )
    counts = data.num_target_tokens
    with gated(model, gates):
        metrics = [plain_sums(model, data).sum() / counts]
    edited, tolerance = model, bound(model)
    for step in result.steps:
        edited = zero_columns(edited, step.layer, step.head)
        with gated(edited, gates):
            metrics.append(plain_sums(edited, data).sum() / counts)
        assert abs(step.metric - metrics[-1]) < tolerance
        assert abs(step.score - (metrics[-1] - metrics[0])) < tolerance
        assert abs(step.delta - (metrics[-1] - metrics[-2])) < tolerance
    assert [step.step for step in result.steps] == list(range(1, LAYERS * HEADS + 1))


def test_orders() -> None:
    exists = torch.ones(LAYERS, HEADS, dtype=torch.bool)
    forward = head_order(AblationConfig("sequential", "forward"), exists)
    assert forward[:5] == [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0)]
    assert head_order(AblationConfig("sequential", "backward"), exists) == forward[::-1]
    random = head_order(AblationConfig("sequential", "random", seed=1), exists)
    assert sorted(random) == forward
    assert random == head_order(AblationConfig("sequential", "random", seed=1), exists)
    assert random != head_order(AblationConfig("sequential", "random", seed=2), exists)


def test_other_heads_stay_at_the_gates() -> None:
    model, data = make_model("gpt2").double(), ragged_data()
    gates = HeadGates(torch.linspace(-2, 2, LAYERS * HEADS).view(LAYERS, HEADS))
    result = ablate_heads(model, data, gates=gates, show_progress=False)
    with gated(model, gates):
        baseline = plain_sums(model, data).sum() / data.num_target_tokens
    assert abs(result.baseline - baseline) < bound(model)
    edited = zero_columns(model, 1, 2)
    with gated(edited, gates):
        closed = plain_sums(edited, data).sum() / data.num_target_tokens
    assert abs(result.scores[1, 2] - (closed - baseline)) < bound(model)


def test_standard_error_is_that_of_the_mean_for_rows_of_equal_length() -> None:
    model = make_model("gpt2").double()
    generator = torch.Generator().manual_seed(3)
    rows = torch.randint(1, VOCAB, (12, 6), generator=generator).tolist()
    scored = (False, *[True] * 5)
    data = TokenData(tuple(TokenRow(tuple(row), scored) for row in rows), "equal", 0)
    result = ablate_heads(model, data, show_progress=False)
    difference = (plain_sums(zero_columns(model, 0, 1), data) - plain_sums(model, data)) / 5
    expected = difference.std(ddof=1) / math.sqrt(12)
    assert abs(result.stderrs[0, 1] - expected) < bound(model)


def test_one_sequence_has_no_standard_error(tmp_path: Path) -> None:
    result = ablate_heads(make_model("gpt2"), ragged_data(1), show_progress=False)
    assert {head.stderr for head in result.heads} == {None}
    assert AblationResult.load(result.save(tmp_path / "r.json")) == result


def test_wrong_shape_and_nan_are_refused() -> None:
    with pytest.raises(GateError, match="belong to another model"):
        ablate_heads(make_model("gpt2"), ragged_data(), gates=HeadGates(torch.zeros(3, HEADS)))
    model = make_model("gpt2")
    with torch.no_grad():
        model.lm_head.weight.fill_(float("nan"))
    with pytest.raises(ModelError, match="NaN"):
        ablate_heads(model, ragged_data(), show_progress=False)

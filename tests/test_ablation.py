"""Ablation against the plainest reference: edited weights, one row at a time, no batching."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from chg import AblationResult, HeadGates, ablate_heads
from chg.ablation.ablate import head_order
from chg.config.ablation import AblationConfig
from chg.data.tokens import TokenData, TokenRow
from chg.errors import GateError, ModelError, ResultsError
from chg.gating.gate_wrapper import gated
from test_gate_wrapper import zero_columns
from tiny_models import HEADS, LAYERS, VOCAB, make_model


def ragged_data(rows: int = 5) -> TokenData:
    generator = torch.Generator().manual_seed(7)
    made = []
    for i in range(rows):
        ids = torch.randint(1, VOCAB, (3 + 2 * i,), generator=generator).tolist()
        scored = [j > 0 and (i % 2 == 0 or j >= len(ids) - 2) for j in range(len(ids))]
        made.append(TokenRow(tuple(ids), tuple(scored)))
    return TokenData(tuple(made), "ragged", 0)


@torch.no_grad()
def plain_sums(model: nn.Module, data: TokenData) -> np.ndarray:
    """Summed target log-probability of every row, one unpadded forward pass each."""
    sums = []
    for row in data.rows:
        logprobs = model(torch.tensor([row.ids])).logits[0].double().log_softmax(-1)
        sums.append(
            sum(float(logprobs[j - 1, row.ids[j]]) for j in range(len(row.ids)) if row.scored[j])
        )
    return np.array(sums)


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_individual_equals_a_plain_loop_of_weight_edits(model: nn.Module, batch_size: int) -> None:
    data = ragged_data()
    result = ablate_heads(model, data, batch_size=batch_size, show_progress=False)
    counts = data.num_target_tokens
    baseline = plain_sums(model, data).sum() / counts
    assert abs(result.baseline - baseline) < 1e-9
    for head in result.heads:
        edited = zero_columns(model, head.layer, head.head)
        assert abs(head.score - (plain_sums(edited, data).sum() / counts - baseline)) < 1e-9
    assert len(result.heads) == LAYERS * HEADS


@pytest.mark.parametrize("order", ["forward", "backward", "random"])
def test_sequential_equals_a_plain_loop(order: str) -> None:
    model = make_model("llama_grouped").double()
    data = ragged_data()
    gates = HeadGates(torch.randn(LAYERS, HEADS, generator=torch.Generator().manual_seed(0)))
    result = ablate_heads(
        model, data, mode="sequential", ablation_order=order, gates=gates, show_progress=False
    )
    counts = data.num_target_tokens
    with gated(model, gates):
        metrics = [plain_sums(model, data).sum() / counts]
    edited: nn.Module = model
    for step in result.steps:
        edited = zero_columns(edited, step.layer, step.head)
        with gated(edited, gates):
            metrics.append(plain_sums(edited, data).sum() / counts)
        assert abs(step.metric - metrics[-1]) < 1e-9
        assert abs(step.score - (metrics[-1] - metrics[0])) < 1e-9
        assert abs(step.delta - (metrics[-1] - metrics[-2])) < 1e-9
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
    assert abs(result.baseline - baseline) < 1e-9
    edited = zero_columns(model, 1, 2)
    with gated(edited, gates):
        closed = plain_sums(edited, data).sum() / data.num_target_tokens
    assert abs(result.scores[1, 2] - (closed - baseline)) < 1e-9


def test_standard_error_is_that_of_the_mean_for_rows_of_equal_length() -> None:
    model = make_model("gpt2").double()
    generator = torch.Generator().manual_seed(3)
    rows = torch.randint(1, VOCAB, (12, 6), generator=generator).tolist()
    scored = (False, *[True] * 5)
    data = TokenData(tuple(TokenRow(tuple(row), scored) for row in rows), "equal", 0)
    result = ablate_heads(model, data, show_progress=False)
    difference = (plain_sums(zero_columns(model, 0, 1), data) - plain_sums(model, data)) / 5
    expected = difference.std(ddof=1) / math.sqrt(12)
    assert abs(result.stderrs[0, 1] - expected) < 1e-9


def test_one_sequence_has_no_standard_error(tmp_path: Path) -> None:
    result = ablate_heads(make_model("gpt2"), ragged_data(1), show_progress=False)
    assert {head.stderr for head in result.heads} == {None}
    assert AblationResult.load(result.save(tmp_path / "r.json")) == result


@pytest.mark.parametrize("mode", ["individual", "sequential"])
def test_results_file(tmp_path: Path, mode: str) -> None:
    result = ablate_heads(make_model("gpt2"), ragged_data(), mode=mode, show_progress=False)
    path = result.save(tmp_path / "results.json")
    content = json.loads(path.read_text())
    common = {
        "format_version",
        "mode",
        "model",
        "dataset",
        "metric",
        "ablation",
        "method",
        "baseline",
        "num_sequences",
        "num_target_tokens",
        "num_layers",
        "num_heads",
        "unit",
        "seconds",
        "metadata",
    }
    own = {"heads"} if mode == "individual" else {"order", "steps"}
    assert set(content) == common | own
    assert content["metric"] == "mean_target_logprob"
    if mode == "individual":
        assert set(content["heads"][0]) == {"layer", "head", "score", "stderr", "exact"}
    else:
        assert content["order"] == "forward"
        assert {"step", "layer", "head", "metric", "score", "delta"} <= set(content["steps"][0])
    assert AblationResult.load(path) == result


def test_bad_results_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    with pytest.raises(ResultsError, match="does not exist"):
        AblationResult.load(path)
    for text in ("", "[]", "{}", '{"mode": "individual"}', "\x00\x01"):
        path.write_text(text)
        with pytest.raises(ResultsError):
            AblationResult.load(path)


def test_wrong_shape_and_nan_are_refused() -> None:
    with pytest.raises(GateError, match="belong to another model"):
        ablate_heads(make_model("gpt2"), ragged_data(), gates=HeadGates(torch.zeros(3, HEADS)))
    model = make_model("gpt2")
    with torch.no_grad():
        model.lm_head.weight.fill_(float("nan"))
    with pytest.raises(ModelError, match="NaN"):
        ablate_heads(model, ragged_data(), show_progress=False)

"""Ablation on tiny random models of the families people use, against plain weight edits."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from chg import AblationConfig, ablate_heads
from chg.errors import GateError
from chg.fitting.fit import fit_gates
from chg.gating.gate_wrapper import get_attention_module
from chg.gating.gates import HeadGates
from chg.models.architectures import find_head_sites
from support.decoders import build, fold
from support.precision import bound
from support.rows import plain_sums, ragged_data

HYBRIDS = {
    "bamba": [1, 3],
    "jamba": [4],
    "lfm2_moe": [1, 3],
    "qwen3_next": [3],
    "zamba": [2, 7],
    "zamba2": [1, 3],
}
"""the layers with heads, of those models in which not all layers have some"""


def test_individual_ablation_equals_a_loop_of_weight_edits(decoder: nn.Module) -> None:
    data, sites = ragged_data(3), find_head_sites(decoder)
    result = ablate_heads(decoder, data, show_progress=False)
    assert len(result.heads) == int(sites.existing().sum())
    tolerance = bound(decoder)
    before = plain_sums(decoder, data).sum()
    for head in result.heads:
        closed = torch.ones(sites.shape, dtype=torch.float64)
        closed[head.layer, head.head] = 0
        score = (plain_sums(fold(decoder, closed), data).sum() - before) / data.num_target_tokens
        assert head.score == pytest.approx(score, abs=tolerance)


@pytest.mark.parametrize("model_type", sorted(HYBRIDS))
def test_layers_without_heads_are_left_out_everywhere(model_type: str, tmp_path: Path) -> None:
    model, data = build(model_type), ragged_data()
    sites, layers = find_head_sites(model), HYBRIDS[model_type]
    assert [site.layer for site in sites] == layers
    fit = fit_gates(model, data, max_steps=3, lambda_reg=0.1, show_progress=False)
    path = fit.gates.save(tmp_path / "gates.safetensors")
    gates = HeadGates.load(path)
    assert torch.equal(gates.exists, sites.existing())
    assert sum(gates.counts) == int(sites.existing().sum())
    result = ablate_heads(model, data, AblationConfig(), gates=gates, show_progress=False)
    assert {head.layer for head in result.heads} == set(layers)
    assert len(result.heads) == int(sites.existing().sum())
    assert result.shape == sites.shape
    with pytest.raises(GateError, match="no softmax attention"):
        get_attention_module(model, 0)


def test_layers_may_differ_in_their_number_of_heads() -> None:
    model, data = build("laguna"), ragged_data()
    assert [site.num_heads for site in find_head_sites(model)] == [4, 2, 4, 8]
    result = ablate_heads(model, data, show_progress=False)
    assert result.shape == (4, 8)
    assert sum(head.layer == 1 for head in result.heads) == 2

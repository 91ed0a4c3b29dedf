"""Ablation to means and to other rows, against one plain hooked pass per row."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from chg import HeadGates, ablate_heads, fit_contrastive, fit_gates
from chg.config.choices import AblationKind
from chg.config.fitting import ContrastConfig
from chg.data.partners import with_partners
from chg.data.tokens import TokenData
from chg.engine.evaluation import evaluate_gates
from chg.fitting.optimizer import starting_logits
from chg.gating.references import make_reference
from support.by_hand import KINDS, make_any, one_head_out, stand_ins, sums_by_hand
from support.precision import bound
from support.rows import few_shot, ragged_data
from support.tiny_models import HEADS, LAYERS, make_model


@pytest.mark.parametrize(("kind", "per_position"), KINDS)
def test_heads_out_one_after_another(kind: AblationKind, per_position: bool) -> None:
    model, rows = make_any("llama_grouped"), ragged_data()
    gates = HeadGates(torch.randn(LAYERS, HEADS, generator=torch.Generator().manual_seed(0)))
    result = ablate_heads(
        model,
        rows,
        mode="sequential",
        ablation_order="backward",
        ablation=kind,
        per_position=per_position,
        gates=gates,
        show_progress=False,
    )
    data = with_partners(rows, 42) if kind == "resample" else rows
    expected, left = stand_ins(model, data, kind, per_position), gates.values.clone()
    tolerance = bound(model)
    for step in result.steps:
        left[step.layer, step.head] = 0
        metric = sums_by_hand(model, data, expected, left).sum() / data.num_target_tokens
        assert abs(step.metric - metric) < tolerance
    assert result.ablation == kind
    assert result.metadata["data_fingerprint"] == data.fingerprint


@pytest.mark.parametrize(("kind", "per_position"), KINDS)
@pytest.mark.parametrize("mode", ["individual", "estimate"])
def test_every_mode_takes_every_kind(mode: str, kind: AblationKind, per_position: bool) -> None:
    settings = {"ablation": kind, "per_position": per_position, "unit": "kv_group"}
    model, data = make_any("llama_grouped"), ragged_data()
    exact = ablate_heads(model, data, show_progress=False, **settings)
    if mode == "estimate":
        found = ablate_heads(model, data, mode=mode, confirm=2, show_progress=False, **settings)
        assert found.exact.all()
    else:
        model = make_model("llama_grouped")
        found = ablate_heads(model, data, screening=True, show_progress=False, **settings)
    assert found.shape == (LAYERS, 2)
    assert np.abs(found.scores - exact.scores).max() < (1e-5 if mode == "estimate" else 0.02)


def constant_heads() -> nn.Module:
    """A GPT-2 whose values are their bias, whatever is attended to."""
    model = make_any("gpt2")
    with torch.no_grad():
        for block in model.transformer.h:  # type: ignore[union-attr, operator]
            block.attn.c_attn.weight[:, 64:] = 0
            block.attn.c_attn.bias[64:] = torch.linspace(-1, 1, 32)
    return model


@pytest.mark.parametrize(("kind", "per_position"), KINDS)
def test_nobody_misses_heads_that_say_the_same_everywhere(
    kind: AblationKind, per_position: bool
) -> None:
    model, data = constant_heads(), ragged_data()
    settings = {"ablation": kind, "per_position": per_position, "show_progress": False}
    for mode in ("individual", "sequential", "estimate"):
        result = ablate_heads(model, data, mode=mode, **settings)
        assert np.nanmax(np.abs(result.scores)) < 1e-12
        zero = ablate_heads(model, data, mode=mode, show_progress=False)
        assert np.nanmax(np.abs(zero.scores)) > 1e-3
    how = {"max_steps": 4, "batch_size": len(data), "lambda_reg": 0.5, **settings}
    fit, tolerance = fit_gates(model, data, held_out=data, **how), bound(model)
    assert np.ptp(fit.losses) < 1e-6
    assert fit.nll_gated_train == pytest.approx(fit.nll_ungated_train, abs=tolerance)
    assert fit.nll_gated_held_out == pytest.approx(fit.nll_ungated_held_out, abs=tolerance)
    sides = {"held_out_retain": data, "held_out_forget": few_shot()}
    contrast = fit_contrastive(
        model, data, few_shot(), **sides, **{**how, "lambda_reg": 0.0, "starts": 1}
    )
    start = starting_logits(ContrastConfig(), (LAYERS, HEADS))[0]
    assert torch.allclose(contrast.gates.logits, start, atol=1e-4)  # nothing to gain anywhere
    for side in (contrast.retain, contrast.forget):
        assert side.nll_after == pytest.approx(side.nll_before, abs=tolerance)


def test_other_rows_for_reference(caplog: pytest.LogCaptureFixture) -> None:
    model, data = make_any("gpt2"), ragged_data()
    other = TokenData(tuple(reversed(few_shot().rows)), "other", 0)
    found = ablate_heads(model, data, ablation="mean", reference=other, show_progress=False)
    expected = make_reference(model, other, "mean")
    (score,) = evaluate_gates(model, data, [one_head_out(model)[1]], reference=expected)
    assert found.scores[0, 0] + found.baseline == pytest.approx(score.mean_target_logprob)
    assert found.metadata["reference_dataset"] == "other"
    drawn = ablate_heads(model, data, ablation="resample", reference=other, show_progress=False)
    assert drawn.metadata["data_fingerprint"] == with_partners(data, 42, other).fingerprint
    gates = HeadGates(torch.zeros(LAYERS, HEADS), {"ablation": "mean"})
    ablate_heads(model, data, gates=gates, show_progress=False)
    assert "fitted with --ablation mean, not zero" in caplog.text

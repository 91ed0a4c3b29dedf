"""Faster, less exact ways to score heads: how near they come, and that they say what they are."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from chg import ablate_heads, load_model
from chg.cli.main import main
from chg.config.ablation import AblationConfig
from chg.data.loading import load_data
from chg.data.tokens import TokenData
from chg.engine.evaluation import evaluate_gates
from chg.errors import ConfigError
from chg.gating.gates import HeadGates
from chg.models.modes import matmul_dtype
from chg.results.ablation import AblationResult
from test_ablation import ragged_data
from test_engine import individual
from tiny_models import make_model


@pytest.fixture(scope="module")
def builtin() -> tuple[nn.Module, TokenData]:
    model, tokenizer = load_model("builtin:tiny", device="cpu")
    return model, load_data("builtin:instruction", tokenizer, limit=64, split="validation")


@pytest.fixture(scope="module")
def exact(builtin: tuple[nn.Module, TokenData]) -> AblationResult:
    return ablate_heads(*builtin, batch_size=16, show_progress=False)


def agreement(left: AblationResult, right: AblationResult) -> float:
    """Spearman's rank correlation."""
    ranks = [pd.Series(result.scores.ravel()).rank() for result in (left, right)]
    return float(ranks[0].corr(ranks[1]))


def test_screening_finds_the_strong_heads_and_errs_little(
    builtin: tuple[nn.Module, TokenData], exact: AblationResult
) -> None:
    screened = ablate_heads(*builtin, screening=True, batch_size=16, show_progress=False)
    assert screened.method == "screening"
    assert not screened.exact.any()
    error = np.abs(screened.scores - exact.scores).max()
    assert 0 < error < 0.02 * np.abs(exact.scores).max()
    strongest = [set(np.argsort(result.scores.ravel())[:5]) for result in (screened, exact)]
    assert strongest[0] == strongest[1]


def test_an_estimate_finds_the_strong_heads(
    builtin: tuple[nn.Module, TokenData], exact: AblationResult
) -> None:
    estimated = ablate_heads(*builtin, mode="estimate", batch_size=16, show_progress=False)
    assert estimated.method == "estimate"
    assert estimated.baseline == pytest.approx(exact.baseline, abs=1e-5)
    assert agreement(estimated, exact) > 0.7
    strongest = set(np.argsort(exact.scores.ravel())[:5])
    assert len(strongest & set(np.argsort(estimated.scores.ravel())[:8])) >= 4


def test_an_estimate_is_exact_where_the_metric_is_linear() -> None:
    """Gates near 0 move the metric in proportion to themselves."""
    model, data = make_model("gpt2").double(), ragged_data()
    gates = HeadGates(torch.full((2, 4), -9.0))
    estimated = ablate_heads(model, data, mode="estimate", gates=gates, show_progress=False)
    exact = ablate_heads(model, data, gates=gates, show_progress=False)
    assert estimated.scores == pytest.approx(exact.scores, rel=2e-2, abs=1e-9)


@pytest.mark.parametrize("how", [{"screening": True}, {"mode": "estimate"}])
def test_confirmed_heads_are_exact(
    how: dict[str, object], builtin: tuple[nn.Module, TokenData], exact: AblationResult
) -> None:
    result = ablate_heads(*builtin, **how, confirm=3, batch_size=16, show_progress=False)
    assert result.exact.sum() == 6
    assert result.scores[result.exact] == pytest.approx(exact.scores[result.exact], abs=1e-6)
    assert result.baseline == pytest.approx(exact.baseline, abs=1e-6)
    assert "6 of 32 heads confirmed" in result.method_note


def test_controls_cancel_and_change_nothing_in_exact_arithmetic(model: nn.Module) -> None:
    data, matrices = ragged_data(), individual()
    plain = evaluate_gates(model, data, matrices, slab=40)
    controlled = evaluate_gates(model, data, matrices, slab=40, controls=True)
    for one, other in zip(plain, controlled, strict=True):
        assert other.logprob_sums == pytest.approx(one.logprob_sums, abs=1e-9)
        assert (other.correct == one.correct).all()


def test_precision_is_put_back() -> None:
    model = make_model("gpt2")
    before = {name: (id(p), p.dtype) for name, p in model.named_parameters()}
    with matmul_dtype(model, torch.bfloat16):
        inside = {name: p.dtype for name, p in model.named_parameters()}
        out = model.transformer(torch.tensor([[1, 2, 3]])).last_hidden_state
    assert inside["transformer.h.0.mlp.c_fc.weight"] == torch.bfloat16
    assert inside["transformer.h.0.ln_1.weight"] == torch.float32
    assert inside["transformer.wte.weight"] == torch.float32
    assert out.dtype == torch.float32, "the residual stream"
    assert before == {name: (id(p), p.dtype) for name, p in model.named_parameters()}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"confirm": 3}, "this is exact"),
        ({"confirm": 3, "mode": "sequential"}, "scores heads alone"),
        ({"screening": True, "mode": "estimate"}, "is not screened"),
        ({"confirm": -1}, "0 or more"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ablate_heads(make_model("gpt2"), ragged_data(), AblationConfig(**settings))


def test_screening_is_confirmed_and_the_report_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    data = ["--model", "builtin:tiny", "--dataset", "builtin:aba", "--limit", "16"]
    screened = ["--screening", "--confirm", "2", "--output", "r.json", "--quiet"]
    assert main(["ablate", *data, *screened]) == 0
    assert "4 of 32 heads confirmed exactly" in capsys.readouterr().out
    assert json.loads(Path("r.json").read_text())["method"] == "screening"
    assert main(["analyze", "--results", "r.json"]) == 0
    assert "screened in bfloat16" in Path("analysis_output/summary_report.txt").read_text()
    header = Path("analysis_output/head_rankings.csv").read_text().splitlines()[0]
    assert header == "rank,layer,head,score,stderr,gate,exact"

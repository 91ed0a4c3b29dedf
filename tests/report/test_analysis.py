"""The analysis folder: what is in it, and that it says the right thing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.image import imread

from chg import AblationResult, AnalysisConfig, HeadGates, analyze
from chg.errors import ConfigError, GateError, ResultsError
from chg.report.drawing import ticks
from chg.results.ablation import HeadScore, Step


def make_result(layers: int, heads: int) -> AblationResult:
    rng = np.random.default_rng(0)
    scores = rng.normal(0, 0.01, (layers, heads))
    scores[0, 1], scores[1, 0] = -0.5, 0.4
    return AblationResult(
        mode="individual",
        model="gpt2",
        dataset="wikitext",
        baseline=-3.0,
        num_sequences=10,
        num_target_tokens=100,
        seconds=1.0,
        heads=tuple(
            HeadScore(layer, head, float(scores[layer, head]), 0.01)
            for layer in range(layers)
            for head in range(heads)
        ),
    )


@pytest.mark.parametrize("shape", [(2, 3), (12, 12), (32, 32)])
def test_a_full_analysis(tmp_path: Path, shape: tuple[int, int]) -> None:
    make_result(*shape).save(tmp_path / "r.json")
    high, low = torch.full(shape, 3.0), torch.full(shape, -3.0)
    removal, retention = low.clone(), high.clone()
    removal[0, 1], retention[1, 0] = 3.0, -3.0
    for name, logits in (("g", high), ("plus", retention), ("minus", removal)):
        HeadGates(logits).save(tmp_path / f"{name}.pt")
    out = tmp_path / "out"
    analysis = analyze(
        results=str(tmp_path / "r.json"),
        gates=str(tmp_path / "g.pt"),
        gates_retention=str(tmp_path / "plus.pt"),
        gates_removal=str(tmp_path / "minus.pt"),
        output_dir=str(out),
        top_k=1,
    )
    assert sorted(path.name for path in out.iterdir()) == [
        "gate_distribution.png",
        "head_rankings.csv",
        "importance_heatmap.png",
        "layer_importance.png",
        "role_map.png",
        "summary_report.txt",
    ]
    for picture in out.glob("*.png"):
        pixels = imread(picture)
        assert min(pixels.shape[:2]) > 500
        assert pixels[..., :3].std() > 0.02
    table = pd.read_csv(out / "head_rankings.csv")
    assert list(table.columns) == [
        "rank",
        "layer",
        "head",
        "score",
        "stderr",
        "gate",
        "facilitation",
        "interference",
        "irrelevance",
        "role",
    ]
    assert len(table) == shape[0] * shape[1]
    assert table.score.is_monotonic_increasing
    first, last = table.iloc[0], table.iloc[-1]
    assert (first.layer, first["head"], first.role) == (0, 1, "facilitating")
    assert (last.layer, last["head"], last.role) == (1, 0, "interfering")
    assert set(table.role[1:-1]) == {"irrelevant"}
    report = (out / "summary_report.txt").read_text()
    assert "Most important (up to 1):" in report
    assert "L0H1" in report
    assert f"irrelevant    {len(table) - 2:5d}" in report
    assert analysis.rankings.iloc[0].score == pytest.approx(-0.5)


def test_a_layer_without_heads_is_left_out(tmp_path: Path) -> None:
    whole = make_result(3, 4)
    heads = tuple(head for head in whole.heads if head.layer != 2 and head.head != 3)
    replace(whole, heads=heads, num_layers=3, num_heads=4).save(tmp_path / "r.json")
    logits = torch.full((3, 4), 3.0)
    logits[2], logits[:, 3] = torch.nan, torch.nan
    HeadGates(logits).save(tmp_path / "plus.pt")
    HeadGates(-logits).save(tmp_path / "minus.pt")
    analysis = analyze(
        results=str(tmp_path / "r.json"),
        gates=str(tmp_path / "plus.pt"),
        gates_retention=str(tmp_path / "plus.pt"),
        gates_removal=str(tmp_path / "minus.pt"),
        output_dir=str(tmp_path / "out"),
    )
    table = pd.read_csv(tmp_path / "out" / "head_rankings.csv")
    assert sorted(zip(table.layer, table["head"], strict=True)) == [
        (layer, head) for layer in range(2) for head in range(3)
    ]
    assert set(table.role) == {"irrelevant"}
    assert analysis.taxonomy is not None
    assert (analysis.taxonomy.roles[2] == "").all()
    report = (tmp_path / "out" / "summary_report.txt").read_text()
    assert "layer   2  has no heads" in report
    assert "6 open (> 0.7), 0 closed (< 0.3), 0 between" in report


def test_without_fits_the_csv_has_six_columns(tmp_path: Path) -> None:
    make_result(2, 3).save(tmp_path / "r.json")
    analyze(results=str(tmp_path / "r.json"), output_dir=str(tmp_path / "out"))
    table = pd.read_csv(tmp_path / "out" / "head_rankings.csv")
    assert list(table.columns) == ["rank", "layer", "head", "score", "stderr", "gate"]
    assert (table.gate == 1).all()
    assert not (tmp_path / "out" / "role_map.png").exists()


def test_sequential_results_rank_by_the_change_at_the_step(tmp_path: Path) -> None:
    steps = tuple(
        Step(i + 1, 0, i, -3.0 - i, -float(i), delta, None)
        for i, delta in enumerate((-0.1, -0.9, 0.2))
    )
    result = AblationResult(
        "sequential", "gpt2", "x", -3.0, 1, 10, 1.0, order="forward", steps=steps
    )
    result.save(tmp_path / "s.json")
    analysis = analyze(results=str(tmp_path / "s.json"), output_dir=str(tmp_path / "out"))
    assert list(analysis.rankings["head"]) == [1, 0, 2]
    assert "forward order" in (tmp_path / "out" / "summary_report.txt").read_text()


@pytest.mark.parametrize("count", [1, 4, 12, 17, 18, 32, 64, 80, 200])
def test_tick_labels_stay_apart(count: int) -> None:
    assert len(ticks(count)) <= 17
    assert ticks(count)[0] == 0


def test_bad_requests(tmp_path: Path) -> None:
    make_result(2, 3).save(tmp_path / "r.json")
    HeadGates(torch.zeros(3, 3)).save(tmp_path / "g.pt")
    with pytest.raises(GateError, match="different models"):
        analyze(results=str(tmp_path / "r.json"), gates=str(tmp_path / "g.pt"))
    with pytest.raises(ResultsError):
        analyze(results=str(tmp_path / "g.pt"))
    with pytest.raises(ConfigError, match="go together"):
        AnalysisConfig(gates_retention="a.pt")

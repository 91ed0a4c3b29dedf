"""Rankings on the command line: `chg fit --budget`, `chg export`, and bad input."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from chg import HeadGates, Study
from chg.cli import main

MODEL = ["--model", "builtin:tiny", "--dataset", "builtin:icl", "--quiet"]


def test_a_budgeted_fit_is_a_ranking_that_was_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "ranking.safetensors"
    fitted = ["fit", *MODEL, "--budget", "--max_steps", "30", "--batch_size", "8"]
    assert main([*fitted, "--eval_rows", "32", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "budgeted fit" in said
    assert "random" in said
    gates = HeadGates.load(out)
    assert gates.logits.shape == (4, 8)
    assert gates.metadata["budgeted"] is True
    figures = gates.metadata["figures"]
    assert 0 < figures["cmd"]["low"] < figures["cmd"]["value"] < figures["cmd"]["high"] < 0.5
    # It is a start of another fit.
    again = [*fitted[:-4], "--max_steps", "2", "--init", str(out), "--out", str(tmp_path / "b.pt")]
    assert main(again) == 0


def test_a_budget_takes_no_push(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ["--out", str(tmp_path / "x.pt")]
    assert main(["fit", *MODEL, "--budget", "--lambda_reg", "0.1", *out]) == 2
    assert "leave out --lambda_reg" in capsys.readouterr().err
    assert not (tmp_path / "x.pt").exists()


def test_a_study_is_exported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    small = ["--seeds", "1", "--max_steps", "10", "--eval_rows", "16", "--budget_steps", "10"]
    assert main(["study", *MODEL, *small, "--no_patterns", "--out", str(run)]) == 0
    assert main(["export", str(run), "--format", "mib"]) == 0
    assert "importances.json" in capsys.readouterr().out
    content = json.loads((run / "importances.json").read_text(encoding="utf-8"))
    assert len(content["nodes"]) == 1 + 4 * 9
    assert Study.load(run).faithfulness is not None
    capsys.readouterr()
    for arguments, message in (
        ([str(tmp_path / "none")], "holds no study"),
        ([str(run), "--format", "pickle"], "mib"),
    ):
        assert main(["export", *arguments]) == 2
        assert message in capsys.readouterr().err

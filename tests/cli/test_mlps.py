"""`--unit head_and_mlp` on the command line, from a fit to a report."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from chg.cli.main import main

MODEL = ["--model", "builtin:tiny", "--dataset", "builtin:icl", "--limit", "24"]
UNIT = ["--unit", "head_and_mlp"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_step_by_step(capsys: pytest.CaptureFixture[str]) -> None:
    fit = ["fit", *MODEL, *UNIT, "--max_steps", "3", "--quiet"]
    assert main([*fit, "--out", "init.pt"]) == 0
    pushed = [*fit, "--init", "init.pt"]
    assert main([*pushed, "--out", "plus.pt", "--lambda_reg", "-0.1"]) == 0
    assert main([*pushed, "--out", "minus.pt", "--lambda_reg", "0.1"]) == 0
    ablate = ["ablate", *MODEL, "--gates", "init.pt", "--output", "results.json", "--quiet"]
    assert main([*ablate, *UNIT]) == 0
    analyze = ["analyze", "--results", "results.json", "--gates", "init.pt", "--output_dir", "out"]
    both = ["--gates_retention", "plus.pt", "--gates_removal", "minus.pt"]
    assert main([*analyze, *both, "--quiet"]) == 0
    assert "L0MLP" in Path("out/summary_report.txt").read_text()
    assert (pd.read_csv("out/head_rankings.csv")["head"] == "MLP").sum() == 4
    capsys.readouterr()
    assert main(ablate) == 2
    assert "fitted with another --unit" in capsys.readouterr().err


def test_a_study_and_its_validation() -> None:
    study = ["study", *MODEL, *UNIT, "--seeds", "2", "--max_steps", "5", "--out", "run", "--quiet"]
    study += ["--eval_rows", "8", "--check_seeds", "1", "--check_points", "2", "--no_patterns"]
    assert main(study) == 0
    assert (pd.read_csv("run/heads.csv")["head"] == "MLP").sum() == 4
    assert '"H7","MLP"]' in Path("run/report.html").read_text()
    assert main(["validate", "run", "--quiet"]) == 0
    assert main(["ablate", *MODEL, *UNIT, "--gates", "run", "--output", "x.json", "--quiet"]) == 0


def test_inspect(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "builtin:tiny", *UNIT]) == 0
    assert "mlps          transformer.h.0.mlp ... transformer.h.3.mlp" in capsys.readouterr().out

"""Metrics other than the log-probability on the command line."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from chg import Study
from chg.builtin import builtin_rows
from chg.cli import main
from chg.results import AblationResult
from support.rows import write_rows

MODEL = ["--model", "builtin:tiny", "--quiet"]
DATA = ["--dataset", "rows.jsonl", "--limit", "24"]


@pytest.fixture(autouse=True)
def rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    """Rows of the built-in data with the answer of another row as foil, in the working folder."""
    monkeypatch.chdir(tmp_path)
    made = [dict(row) for row in builtin_rows("icl", "antonym", "train", rows=40)]
    for row, other in zip(made, [*made[1:], made[0]], strict=True):
        row["foil"] = other["target"]
    made = [row for row in made if row["foil"] != row["target"]]
    write_rows(tmp_path / "rows.jsonl", made)
    write_rows(tmp_path / "plain.jsonl", [{**row, "foil": ""} for row in made])
    return made


def test_ablation_says_what_it_measured(capsys: pytest.CaptureFixture[str]) -> None:
    for metric in ("logit_diff", "kl"):
        ablated = ["ablate", *MODEL, *DATA, "--metric", metric, "--output", f"{metric}.json"]
        assert main(ablated) == 0
        assert main(["analyze", "--results", f"{metric}.json", "--output_dir", metric]) == 0
    said = capsys.readouterr().out
    assert "a wrong answer" in said
    assert "likeness to the ungated model" in said
    difference, divergence = (AblationResult.load(f"{name}.json") for name in ("logit_diff", "kl"))
    assert difference.metric == "mean_logit_difference"
    assert difference.baseline > 5  # the model knows its words
    assert abs(divergence.baseline) < 1e-5
    assert divergence.scores.max() < 1e-5
    report = (Path("kl") / "summary_report.txt").read_text(encoding="utf-8")
    assert "KL divergence" in report


def test_a_fit_says_what_it_kept(capsys: pytest.CaptureFixture[str]) -> None:
    fitted = ["fit", *MODEL, *DATA, "--metric", "kl", "--max_steps", "5", "--out", "gates.pt"]
    assert main(fitted) == 0
    said = capsys.readouterr().out
    assert re.search(r"KL divergence from the ungated model: -?0\.0000 ungated, -\d", said)


def test_a_study_is_of_its_metric_through_resume_and_validation() -> None:
    settings = ["--seeds", "2", "--max_steps", "6", "--eval_rows", "8", "--batch_size", "8"]
    run = ["study", *MODEL, *DATA, *settings, "--metric", "logit_diff", "--out", "run"]
    assert main(run) == 0
    study = Study.load("run")
    assert study.metric == "logit_diff"
    assert study.manifest["figures"]["ungated"]["metric"] > 5
    assert study.manifest["held_out"]["target_tokens"] >= study.manifest["held_out"]["rows"]
    page = Path("run/report.html").read_text(encoding="utf-8")
    assert "mean logit difference of target and foil" in page
    assert "mean target log-probability" not in page
    assert main(["study", "--out", "run", "--resume", "--max_steps", "8", "--quiet"]) == 0
    assert main(["validate", "run", "--seeds", "1", "--quiet"]) == 0
    checks = json.loads(Path("run/validation/checks.json").read_text(encoding="utf-8"))
    assert checks["groups"] is not None
    other = ["study", *MODEL, *DATA, *settings, "--metric", "kl", "--out", "run", "--resume"]
    assert main(other) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--metric", "logitdiff"], "logit_diff"),
        (["--metric", "logit_diff", "--dataset", "plain.jsonl"], "nothing to score"),
        (["--metric", "logit_diff", "--dataset", "builtin:icl"], "no column of wrong answers"),
        (["--metric", "logit_diff", "--foil_column", "x"], "no column 'x'"),
        (["--metric", "kl", "--foil_column", "foil"], "--foil_column belongs to --metric logit"),
    ],
)
def test_what_does_not_go_together_is_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for verb in (["ablate", "--output", "x.json"], ["fit", "--out", "x.pt"]):
        assert main([verb[0], *MODEL, *DATA, *verb[1:], *arguments]) == 2
        said = capsys.readouterr().err.strip()
        assert message in said
        assert "\n" not in said

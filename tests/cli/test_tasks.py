"""`chg tasks`, and verbs on a task: what is listed, measured and refused."""

from __future__ import annotations

from pathlib import Path

import pytest

import chg
from chg.cli.main import main
from chg.files import read_json
from support.cli import loads_torch, run_chg

INDUCTION = ["--model", "builtin:tiny", "--dataset", "task:induction", "--limit", "8"]


def test_the_tasks_are_listed_without_a_model() -> None:
    loaded, _ = loads_torch("tasks")
    assert not loaded
    listed = run_chg("tasks").stdout
    for name in chg.tasks():
        assert f" {name} " in listed
    assert "4-shot" in listed


def test_a_model_is_measured_on_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tasks", "--model", "builtin:tiny", "--limit", "16", "--quiet"]) == 0
    shown = capsys.readouterr().out
    for name in chg.tasks():
        assert name in shown
    (line,) = (line for line in shown.splitlines() if "induction" in line)
    cells = [cell.strip() for cell in line.strip("│|").replace("|", "│").split("│")]
    assert cells[:2] == ["induction", "16"]
    assert cells[-1] in ("yes", "no")
    model, tokenizer = chg.load_model("builtin:tiny")
    data = chg.load_data("task:induction", tokenizer, split="validation", limit=16)
    assert cells[4] == f"{chg.competence(model, data, seed=42).nll:.3f}"
    assert any("ioi" in line and "no words" in line for line in shown.splitlines())


@pytest.mark.parametrize("limit", ["0", "-1"])
def test_no_rows_are_refused(limit: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tasks", "--limit", limit]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--dataset", "task:antonyn"], "perhaps you meant antonym"),
        (["--dataset", "task:antonym", "--dataset_config", "four"], "4-shot"),
        (["--dataset", "task:ioi", "--dataset_split", "test"], "choose one of train, validation"),
    ],
)
def test_a_name_that_is_none_is_refused_before_the_model(flags: list[str], said: str) -> None:
    loaded, error = loads_torch("ablate", "--model", "no/such-model", *flags)
    assert not loaded
    assert error.count("\n") == 1
    assert said in error


@pytest.mark.parametrize("ablation", ["zero", "mean", "resample"])
def test_a_task_is_ablated(tmp_path: Path, ablation: str) -> None:
    out = str(tmp_path / "scores.json")
    flags = ["--ablation", ablation, "--metric", "logit_diff", "--output", out]
    assert main(["ablate", *INDUCTION, *flags, "--quiet"]) == 0
    result = read_json(Path(out))
    assert result["dataset"] == "task:induction:validation"
    assert result["metric"] == "mean_logit_difference"


def test_a_study_of_a_task_measures_on_its_validation_rows(tmp_path: Path) -> None:
    out = tmp_path / "study"
    sizes = ["--seeds", "2", "--max_steps", "4", "--batch_size", "4", "--eval_rows", "8"]
    assert main(["study", *INDUCTION, *sizes, "--out", str(out), "--quiet"]) == 0
    manifest = read_json(out / "manifest.json")
    assert manifest["held_out"]["name"] == "task:induction:validation"

"""`chg contrast`: both directions, tasks held out, what it writes, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

import chg
from chg import (
    HeadGates,
    evaluate,
    load_data,
    load_model,
)
from chg.builtin.tasks import (
    builtin_rows,
)
from chg.cli.main import main
from chg.results.contrast import (
    ContrastResults,
)
from support.repository import ROOT
from support.rows import write_rows


def test_the_shipped_contrast_keeps_the_word_tasks_and_loses_copying(tmp_path: Path) -> None:
    out = tmp_path / "gates.pt"
    shipped = ROOT / "configs" / "contrast_builtin.yaml"
    assert main(["contrast", "--config", str(shipped), "--out", str(out), "--quiet"]) == 0
    gates = HeadGates.load(out)
    model, tokenizer = load_model("builtin:tiny")
    retain = load_data("builtin:instruction", tokenizer, split="validation")
    forget = load_data("builtin:copy", tokenizer, split="validation")
    for matrix in (gates.values, gates.thresholded):
        assert evaluate(model, retain, matrix).accuracy > 0.8
        assert evaluate(model, forget, matrix).accuracy < 0.1


@pytest.fixture
def tuples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder but for `tuples.jsonl`: matched tuples of two tasks."""
    monkeypatch.chdir(tmp_path)
    rows = [
        row
        for task in ("antonym", "singular-plural")
        for row in builtin_rows("format", task, "train", 12)
    ]
    return write_rows(tmp_path / "tuples.jsonl", rows)


QUICK = ["--max_steps", "2", "--starts", "2", "--eval_rows", "8", "--quiet", "--out", "g.pt"]


def contrast(*arguments: str) -> int:
    return main(["contrast", "--model", "builtin:tiny", *arguments, *QUICK])


def test_each_task_held_out_both_ways_over_alpha(
    tuples: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--hold_out", "each", "--both_directions", "--alpha", "0.5,2"]
    assert contrast("--tuples_dataset", str(tuples), *flags) == 0
    names = {path.name for path in tuples.parent.iterdir()} - {tuples.name}
    expected = {
        f"g.{task}{ending}"
        for task in ("antonym", "singular-plural")
        for ending in (".pt", ".reversed.pt", ".tradeoff.png")
    }
    assert names == expected | {"g.contrast.json"}
    results = ContrastResults.load("g.contrast.json")
    assert [(run.held_out_task, run.reversed) for run in results.runs] == [
        (task, direction) for task in ("antonym", "singular-plural") for direction in (False, True)
    ]
    for run in results.runs:
        assert [(fit.alpha, fit.seed) for fit in run.fits] == [
            (0.5, 42),
            (0.5, 43),
            (2.0, 42),
            (2.0, 43),
        ]
        assert all(fit.unseen_forget is not None for fit in run.fits)
        ending = ".reversed.pt" if run.reversed else ".pt"
        gates = chg.HeadGates.load(f"g.{run.held_out_task}{ending}")
        best = run.fits[run.best]
        assert (gates.metadata["alpha"], gates.metadata["seed"]) == (best.alpha, best.seed)
        assert gates.metadata["configuration"]["alpha"] == "0.5,2"
    assert results.metadata["model"].endswith("tiny")
    text = capsys.readouterr().out
    for words in ("left out of fitting", "retain, best", "over starts, at alpha"):
        assert words in text


def test_one_direction_of_tuples_leaves_the_gate_file_alone(tuples: Path) -> None:
    assert contrast("--tuples_dataset", str(tuples)) == 0
    assert {path.name for path in tuples.parent.iterdir()} == {tuples.name, "g.pt"}
    metadata = chg.HeadGates.load("g.pt").metadata
    assert metadata["dataset"].endswith("(retain)")
    assert metadata["held_out_task"] is None


BAD = {
    "both kinds": (["--forget_dataset", "builtin:copy"], "holds both sides"),
    "both kinds, by a detail": (["--retain_dataset_split", "a"], "holds both sides"),
    "unknown task": (["--hold_out", "anto"], "no rows of task 'anto'; it has antonym, singular"),
    "no tasks": (["--hold_out", "each", "--task_column", "kind"], "name its column of tasks"),
    "alpha": (["--alpha", "1,x"], "--alpha must be a number"),
    "no such split": (["--tuples_dataset_split", "nope"], "nope"),
}


@pytest.mark.parametrize("case", sorted(BAD))
def test_bad_input_is_one_line(case: str, tuples: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments, message = BAD[case]
    refused(capsys, message, "--tuples_dataset", str(tuples), *arguments)
    assert list(tuples.parent.iterdir()) == [tuples]


def refused(capsys: pytest.CaptureFixture[str], message: str, *arguments: str) -> None:
    assert contrast(*arguments) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("chg ")]
    assert message in line


def test_bad_tuples_are_one_line(tuples: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = builtin_rows("format", "antonym", "train", 1)[0]
    flags = ["--tuples_dataset", str(tuples)]
    write_rows(tuples, [{name: row[name] for name in row if name != "forget_target"}])
    refused(capsys, "no column 'forget_target'; matched tuples need retain_prompt", *flags)
    write_rows(tuples, [{**row, "forget_target": ""}])
    refused(capsys, "all 1 tuples have an empty column", *flags)
    write_rows(tuples, [row])
    refused(capsys, "at least 2 are needed", *flags)
    refused(capsys, "no task but 'antonym'", "--hold_out", "each", *flags)
    refused(capsys, "need matched tuples", "--hold_out", "each", "--forget_dataset", "builtin:aba")

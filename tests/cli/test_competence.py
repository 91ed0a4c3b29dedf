"""Competence on the command line: said before all else, and kept in what is written."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

import chg
from chg.cli.main import main
from support.rows import write_rows

WORDS = [
    "cat",
    "dog",
    "house",
    "child",
    "foot",
    "book",
    "city",
    "wolf",
    "key",
    "tree",
    "day",
    "hot",
    "cold",
    "big",
    "small",
    "rich",
    "left",
]
UNABLE = "The model does not do this task (a row's own prompt helps no more than another's, p = "
ABLE = "The model does this task: 100% of "


@pytest.fixture
def unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A file of word pairs that mean nothing; the working folder is its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("chg.report.folder.save_figures", lambda *_: [])
    draw = random.Random(0)
    pairs = [draw.sample(WORDS, 2) for _ in range(60)]
    rows = [{"prompt": prompt, "target": target} for prompt, target in pairs]
    return str(write_rows(tmp_path / "unknown.jsonl", rows))


def first_lines(capsys: pytest.CaptureFixture[str], count: int = 1) -> list[str]:
    """First lines on stdout since they were last read."""
    return capsys.readouterr().out.splitlines()[:count]


def test_a_study_of_a_task_that_the_model_does_not_do(
    unknown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = "--seeds 1 --max_steps 3 --eval_rows 20 --check_seeds 1 --check_points 3 --quiet"
    command = ["study", "--model", "builtin:tiny", "--dataset", unknown, *flags.split()]
    assert main([*command, "--out", "run"]) == 0
    (first,) = first_lines(capsys)
    assert first.startswith("- The model does not do this task")
    finished = chg.Study.load("run")
    able = finished.competence
    assert able is not None
    assert not able.shows_task
    assert finished.findings[0] == able.sentence
    assert able.sentence.startswith(UNABLE)

    manifest = json.loads(Path("run", "manifest.json").read_text(encoding="utf-8"))
    names = list(manifest)
    assert names.index("competence") < names.index("figures") < names.index("title")
    assert "configuration" in names[names.index("figures") :]
    assert manifest["competence"]["sentence"] == able.sentence

    page = Path("run", "report.html").read_text(encoding="utf-8")
    assert 0 < page.index("The model does not do this task") < page.index('id="map"')
    assert len(finished.checks) == 3
    for curve in finished.checks:
        assert "the model does not do this task" in curve.verdict
    assert set(finished.heads["role"]) <= {"irrelevant", "undecided"}


def test_fit_and_ablate_say_it_first_and_keep_it(
    unknown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shared = ["--model", "builtin:tiny", "--dataset", unknown, "--quiet"]
    assert main(["fit", *shared, "--max_steps", "2", "--eval_rows", "20", "--out", "g.pt"]) == 0
    (first,) = first_lines(capsys)
    assert first.startswith(UNABLE)
    assert chg.HeadGates.load("g.pt").metadata["competence"]["sentence"] == first

    assert main(["ablate", *shared, "--limit", "20", "--output", "a.json"]) == 0
    (first,) = first_lines(capsys)
    assert first.startswith(UNABLE)
    assert chg.AblationResult.load("a.json").metadata["competence"]["sentence"] == first


def test_contrast_says_it_of_either_side(unknown: str, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--model", "builtin:tiny", "--retain_dataset", "builtin:instruction", "--quiet"]
    flags += ["--forget_dataset", unknown, "--both_directions"]
    flags += ["--max_steps", "2", "--starts", "1", "--eval_rows", "20", "--out", "c.pt"]
    assert main(["contrast", *flags]) == 0
    retain, forget = first_lines(capsys, 2)
    assert retain.startswith(f"retain: {ABLE}")
    assert forget.startswith(f"forget: {UNABLE}")

    sides = [chg.HeadGates.load(name).metadata["competence"] for name in ("c.pt", "c.reversed.pt")]
    assert f"retain: {sides[0]['retain']['sentence']}" == retain
    assert f"forget: {sides[0]['forget']['sentence']}" == forget
    assert sides[1] == {"retain": sides[0]["forget"], "forget": sides[0]["retain"]}
    results = json.loads(Path("c.contrast.json").read_text(encoding="utf-8"))
    assert results["metadata"]["competence"] == sides

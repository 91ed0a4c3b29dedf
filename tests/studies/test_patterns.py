"""A study's attention patterns: columns of its table, left out where they cannot be had."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import chg
from chg import Study, study
from chg.errors import ModelError
from chg.results.patterns import PATTERNS
from chg.selftest.planted import copy_rows, planted_model
from chg.studies.folder import StudyFolder
from support.rows import ragged_data
from support.tiny_models import make_model

SMALL: dict[str, Any] = {
    "seeds": 1, "max_steps": 3, "check_seeds": 0, "eval_rows": 8, "show_progress": False,
}  # fmt: skip


def run(folder: Path | None = None, **settings: Any) -> Study:
    """A small study of planted heads, without pictures."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("chg.report.folder.save_figures", lambda *_: [])
        model, rows = planted_model(), copy_rows(32)
        return study(model, rows, held_out=copy_rows(8, 5), out=folder, **{**SMALL, **settings})


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("patterns") / "run"
    run(folder)
    return folder


def test_scores_are_columns_of_the_table(finished: Path) -> None:
    found = Study.load(finished)
    expected = chg.attention_patterns(planted_model(), show_progress=False)
    for name in PATTERNS:
        assert np.array_equal(found.matrix(name), expected.by_name[name])
    from_csv = pd.read_csv(finished / "heads.csv")
    assert list(from_csv.columns[-3:]) == list(PATTERNS)
    assert from_csv.induction.tolist() == pytest.approx(expected.induction.ravel(), rel=1e-5)
    assert found.manifest["times"]["attention patterns"] > 0


def test_of_groups_they_are_those_of_the_strongest_head() -> None:
    model = make_model("llama_grouped")
    found = study(model, ragged_data(), held_out=ragged_data(2), unit="kv_group", **SMALL)
    expected = chg.attention_patterns(model, unit="kv_group", show_progress=False)
    assert np.array_equal(found.matrix("induction"), expected.induction)


def test_nothing_else_depends_on_them(finished: Path, tmp_path: Path) -> None:
    run(tmp_path / "without", patterns=False)
    for name in ("gates.safetensors", "metrics.jsonl", "checks.json"):
        assert (tmp_path / "without" / name).read_bytes() == (finished / name).read_bytes()
    table, whole = (pd.read_csv(path / "heads.csv") for path in (tmp_path / "without", finished))
    pd.testing.assert_frame_equal(table, whole.drop(columns=list(PATTERNS)))
    without = Study.load(tmp_path / "without")
    assert without.known_heads == ()
    assert "attention patterns" not in without.manifest["times"]
    assert "induction" not in without.heads


class Killed(BaseException):
    """What a killed process feels like."""


def test_a_study_of_an_older_version_goes_on_with_them(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its configuration does not name the setting."""
    with monkeypatch.context() as patched:
        patched.setattr(StudyFolder, "finish", lambda *_: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            run(tmp_path / "run", patterns=False)
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    del manifest["configuration"]["patterns"]
    (tmp_path / "run" / "manifest.json").write_text(json.dumps(manifest))
    run(tmp_path / "run", resume=True)
    assert (tmp_path / "run" / "heads.csv").read_bytes() == (finished / "heads.csv").read_bytes()


def test_more_seeds_leave_them_as_they_are(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "run")
    more = run(tmp_path / "run", resume=True, seeds=2)
    assert np.array_equal(more.matrix("induction"), Study.load(finished).matrix("induction"))


def test_a_study_goes_on_without_them(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An attention that keeps its weights to itself."""

    def refuse(*_: Any, **__: Any) -> None:
        raise ModelError("the attention patterns of Some cannot be read: no weights")

    monkeypatch.setattr("chg.studies.run.attention_patterns", refuse)
    found = run()
    assert "induction" not in found.heads
    (told,) = (record for record in caplog.records if "attention patterns" in record.message)
    assert told.levelno == logging.WARNING
    assert told.message.endswith("cannot be read: no weights; the study goes on without")

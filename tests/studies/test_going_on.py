"""A study that goes on to more updates or seeds equals one that had asked for them at once."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from chg import Study, study
from chg.errors import ConfigError, ResultsError
from chg.selftest.planted import copy_rows, planted_model
from chg.studies.folder import StudyFolder
from chg.studies.waves import Wave
from support.rows import ragged_data
from support.tiny_models import make_model

SAME = ("gates.safetensors", "metrics.jsonl", "heads.csv", "checks.json")
SMALL: dict[str, Any] = {
    "seeds": 2,
    "max_steps": 10,
    "checkpoint_every": 4,
    "check_seeds": 1,
    "check_points": 2,
    "show_progress": False,
}


KEEP = StudyFolder.keep


class Killed(BaseException):
    """What a killed process feels like."""


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """They take longer than all the rest."""
    monkeypatch.setattr("chg.report.folder.save_figures", lambda *_: [])
    monkeypatch.setattr("chg.report.folder.save_page", lambda *_: None)


def planted(folder: Path, **settings: Any) -> Study:
    """A small study of the planted model."""
    rows, held_out = copy_rows(48), copy_rows(6, 5)
    return study(planted_model(), rows, held_out=held_out, out=folder, **{**SMALL, **settings})


def random(folder: Path, family: str, **settings: Any) -> Study:
    """A small study of a random model, on rows of different lengths."""
    model, rows = make_model(family), ragged_data(8)
    return study(model, rows, held_out=ragged_data(6), out=folder, **{**SMALL, **settings})


def assert_same(one: Path, other: Path) -> None:
    """The files of two studies, byte for byte."""
    for name in SAME:
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished study."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    planted(folder)
    return folder


@pytest.mark.parametrize(
    "more",
    [{"max_steps": 17}, {"seeds": 3}, {"max_steps": 17, "seeds": 3}],
    ids=["updates", "seeds", "both"],
)
def test_a_finished_study_goes_on(finished: Path, tmp_path: Path, more: dict[str, int]) -> None:
    shutil.copytree(finished, tmp_path / "run")
    found = planted(tmp_path / "run", resume=True, **more)
    planted(tmp_path / "whole", **more)
    assert_same(tmp_path / "run", tmp_path / "whole")
    before = {name: SMALL[name] for name in more}
    assert [one["before"] for one in found.manifest["continued"]] == [before]
    settings = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert settings.items() >= more.items()


@pytest.mark.parametrize("family", ["llama_grouped", "opt"])
def test_random_models_go_on(family: str, tmp_path: Path) -> None:
    """The planted model is a GPT-2."""
    more: dict[str, Any] = {"max_steps": 10, "seeds": 3, "lambda_path": "0.2"}
    random(tmp_path / "run", family, **{**more, "max_steps": 6, "seeds": 1})
    random(tmp_path / "run", family, resume=True, **more)
    random(tmp_path / "whole", family, **more)
    assert_same(tmp_path / "run", tmp_path / "whole")


def test_settled_fits_go_on(tmp_path: Path) -> None:
    """Some fits settle before the step size falls, some after, in a model that needs no head."""
    settings = {"lr": 0.05, "lr_pushed": 0.3, "check_seeds": 0, "lambda_reg": 2.0}

    def run(folder: Path, **more: Any) -> Study:
        rows = copy_rows(32)
        settings_now = {**SMALL, **settings, "seeds": 1, **more}
        return study(planted_model({}), rows, held_out=copy_rows(8, 5), out=folder, **settings_now)

    first = run(tmp_path / "run", max_steps=110)
    assert first.metrics_of("removal").groupby("seed").step.max().min() == 100
    run(tmp_path / "run", resume=True, max_steps=167)
    run(tmp_path / "whole", max_steps=167)
    assert_same(tmp_path / "run", tmp_path / "whole")


@pytest.mark.parametrize("death", ["pushed.42.43", "pushed.42.43.fall"])
def test_a_stopped_study_goes_on_to_more(
    death: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before it was done, and again after it was told to go on to more."""
    _die_at(monkeypatch, death)
    with pytest.raises(Killed):
        planted(tmp_path / "run")
    more = {"max_steps": 17, "seeds": 3}
    for again in ("initial.44.44.done", "pushed.42.43.done", "stages"):
        _die_at(monkeypatch, again)
        with pytest.raises(Killed):
            planted(tmp_path / "run", resume=True, **more)
        with pytest.raises(ResultsError, match="not finished"):
            Study.load(tmp_path / "run")
    _die_at(monkeypatch, "never")
    planted(tmp_path / "run", resume=True, **more)
    planted(tmp_path / "whole", **more)
    assert_same(tmp_path / "run", tmp_path / "whole")


def _die_at(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    keep = KEEP

    def keep_and_die(self: StudyFolder, what: str, *args: Any, **notes: Any) -> None:
        keep(self, what, *args, **notes)
        if what == name:
            raise Killed

    monkeypatch.setattr(StudyFolder, "keep", keep_and_die)


def test_what_is_there_is_not_fitted_again(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(finished, tmp_path / "run")
    ran: list[tuple[int, ...]] = []
    run = Wave._run
    monkeypatch.setattr(Wave, "_run", lambda self: (ran.append(self.seeds), run(self))[1])
    planted(tmp_path / "run", resume=True, seeds=3)
    assert ran == [(44,), (44,)]
    shutil.rmtree(tmp_path / "run" / "continue")  # it can be deleted
    planted(tmp_path / "run", resume=True, seeds=4)
    assert ran[2:] == [(42, 43, 44, 45)] * 2


def test_g0_stays_when_updates_go_beyond_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted(tmp_path / "run", initial_steps=5)
    ran: list[str] = []
    run = Wave._run
    monkeypatch.setattr(Wave, "_run", lambda self: (ran.append(self.phase.name), run(self))[1])
    found = planted(tmp_path / "run", resume=True, initial_steps=5, max_steps=15)
    assert ran == ["pushed"]
    assert found.metrics_of("initial").step.max() == 5
    planted(tmp_path / "whole", initial_steps=5, max_steps=15)
    assert_same(tmp_path / "run", tmp_path / "whole")


def test_only_more_is_possible(finished: Path) -> None:
    before = (finished / "manifest.json").read_bytes()
    for less in ({"max_steps": 9}, {"seeds": 1}, {"max_steps": None}, {"seeds": 3, "max_steps": 9}):
        with pytest.raises(ConfigError, match="it can go on to more") as refused:
            planted(finished, resume=True, **less)
        assert "\n" not in str(refused.value)
    with pytest.raises(ConfigError, match="another configuration"):
        planted(finished, resume=True, max_steps=17, lr=0.02)
    assert (finished / "manifest.json").read_bytes() == before
    assert json.loads(before)["status"] == "complete"


def test_settings_that_an_old_study_does_not_know_are_at_their_defaults(
    finished: Path, tmp_path: Path
) -> None:
    shutil.copytree(finished, tmp_path / "run")
    manifest = json.loads((tmp_path / "run/manifest.json").read_text(encoding="utf-8"))
    for setting in ("metric", "patterns"):
        del manifest["configuration"][setting]
    (tmp_path / "run/manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(ConfigError, match="metric 'logprob' there, 'kl' now"):
        planted(tmp_path / "run", resume=True, max_steps=12, metric="kl")
    assert planted(tmp_path / "run", resume=True, max_steps=12).metric == "logprob"


def test_a_study_from_before_recipes_cannot_go_on(finished: Path, tmp_path: Path) -> None:
    """Its fits had other step sizes."""
    shutil.copytree(finished, tmp_path / "run")
    manifest = json.loads((tmp_path / "run/manifest.json").read_text(encoding="utf-8"))
    del manifest["configuration"]["recipe"], manifest["configuration"]["initial_steps"]
    (tmp_path / "run/manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(ConfigError, match="recipe 'of an older version' there, 'standard' now"):
        planted(tmp_path / "run", resume=True, max_steps=12)

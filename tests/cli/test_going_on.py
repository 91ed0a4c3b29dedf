"""`chg study --resume` with a study's own settings, and `--plan`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from chg import study
from chg.cli.main import main
from chg.cli.study import own_settings
from chg.selftest.planted import copy_rows, planted_model

FLAGS = [
    *("--model", "builtin:tiny", "--dataset", "builtin:copy", "--limit", "48"),
    *("--seeds", "1", "--max_steps", "4", "--eval_rows", "4", "--check_seeds", "0", "--quiet"),
]


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """They take longer than all the rest."""
    monkeypatch.setattr("chg.report.folder.save_figures", lambda *_: [])


def test_resume_alone_reads_the_folders_own_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(tmp_path / "run")
    assert main(["study", *FLAGS, "--out", folder]) == 0
    # A finished study is read; its model and data are found without a flag.
    assert main(["study", "--out", folder, "--resume", "--quiet"]) == 0
    assert main(["study", "--out", folder, "--resume", "--quiet", "--max_steps", "6"]) == 0
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["configuration"]["max_steps"] == 6
    assert manifest["status"] == "complete"
    assert manifest["continued"][0]["before"] == {"max_steps": 4}
    assert manifest["convergence"]["of"] == 3
    settings = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert (settings["model"], settings["max_steps"]) == ("builtin:tiny", 6)
    assert not {"resume", "out", "plan"} & settings.keys()
    capsys.readouterr()
    assert main(["study", f"--out={folder}", "--resume", "--max_steps", "5"]) == 2
    error = capsys.readouterr().err.strip()
    assert "it can go on to more, not to max_steps 5" in error
    assert "\n" not in error
    # Never a stranger's code, whatever the folder says.
    (tmp_path / "run" / "config.yaml").write_text(yaml.safe_dump({"trust_remote_code": True}))
    monkeypatch.setattr("chg.cli.study.run", lambda _: pytest.fail("it ran"))
    assert main(["study", "--out", folder, "--resume"]) == 2
    assert "give --trust_remote_code on the command line" in capsys.readouterr().err


def test_own_settings_come_before_flags(tmp_path: Path) -> None:
    out = ["--out", str(tmp_path), "--resume"]
    assert own_settings(out) == out  # nothing there
    study(
        planted_model(), copy_rows(16), seeds=1, max_steps=1, eval_rows=2, check_seeds=0,
        out=tmp_path / "made", show_progress=False,
    )  # fmt: skip
    made = ["--out", str(tmp_path / "made"), "--resume"]
    with pytest.raises(Exception, match="was made in Python"):
        own_settings(made)
    assert own_settings([*made, "--model", "gpt2"]) == [*made, "--model", "gpt2"]
    manifest = json.loads((tmp_path / "made" / "manifest.json").read_text())
    manifest["command"] = {"model": "gpt2"}
    (tmp_path / "made" / "manifest.json").write_text(json.dumps(manifest))
    config = str(tmp_path / "made" / "config.yaml")
    assert own_settings(made) == ["--config", config, *made]
    assert own_settings(made[:2]) == made[:2]
    other = [*made, "--config", "other.yaml"]
    assert own_settings(other) == other


def test_plan_says_how_long_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["study", *FLAGS, "--out", "planned", "--plan"]) == 0
    line = capsys.readouterr().out.strip()
    assert line.startswith("the whole study takes about ")
    assert "GB of memory" in line
    assert "\n" not in line
    assert list(tmp_path.iterdir()) == []

"""`chg compare`: what it prints and writes, and what it refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from chg import study
from chg.cli.main import main
from chg.selftest.planted import copy_rows, planted_model


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two studies of one model, and one of key-value groups in another shape."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("chg.report.folder.save_figures", lambda *_: [])
        for name, settings in {"one": {}, "other": {"seed": 7}}.items():
            study(
                planted_model(), copy_rows(32), held_out=copy_rows(16, 5), out=folder / name,
                seeds=3, max_steps=2, check_points=2, check_seeds=0, show_progress=False,
                patterns=False, **settings,
            )  # fmt: skip
    return folder


def test_compares_and_writes(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["compare", str(runs / "one"), str(runs / "other"), "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "one and other: facilitating heads overlap by" in " ".join(said.split())
    assert "seeds of one" in said
    assert str(out) in said
    assert {file.name for file in out.iterdir()} == {
        "compare.html", "heads.csv", "comparison.json", "roles.png", "roles.pdf",
    }  # fmt: skip


def test_a_run_against_itself(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = str(runs / "one")
    assert main(["compare", one, one, "--names", "a", "b", "--out", str(tmp_path / "out")]) == 0
    assert "a and b: no head differs." in " ".join(capsys.readouterr().out.split())


def test_runs_from_a_settings_file(runs: Path, tmp_path: Path) -> None:
    settings = tmp_path / "settings.yaml"
    settings.write_text(
        f"runs: [{runs / 'one'}, {runs / 'other'}]\nnames: [a, b]\nout: {tmp_path / 'out'}\n"
    )
    assert main(["compare", "--config", str(settings)]) == 0
    assert json.loads((tmp_path / "out/comparison.json").read_text())["runs"][1]["name"] == "b"


def test_bad_input(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, out = str(runs / "one"), ["--out", str(tmp_path / "out")]
    wider, unfinished, full = (tmp_path / name for name in ("wider", "unfinished", "full"))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("chg.report.folder.save_figures", lambda *_: [])
        study(
            planted_model(), copy_rows(32), held_out=copy_rows(16, 5), out=wider, unit="kv_group",
            seeds=1, max_steps=1, check_seeds=0, show_progress=False, patterns=False,
        )  # fmt: skip
    shutil.copytree(one, unfinished)
    manifest = json.loads((unfinished / "manifest.json").read_text())
    (unfinished / "manifest.json").write_text(json.dumps({**manifest, "status": "running"}))
    full.mkdir()
    (full / "file").write_text("")
    for arguments, message in (
        ([one, str(wider), *out], f"{wider} has"),
        ([one, *out], f"two runs or more; give another one beside {one}"),
        (out, "two runs or more"),
        ([one, str(tmp_path / "none"), *out], "holds no study"),
        ([one, str(unfinished), *out], "is not finished"),
        ([one, one, "--out", str(full)], "exists already and is never overwritten; choose another"),
        ([one, one, "--names", "a", *out], "each of the 2 runs a name of its own"),
        ([one, one, "--nams", "a", "b", *out], "--names"),
    ):
        assert main(["compare", *arguments]) == 2
        error = capsys.readouterr().err.strip()
        assert message in error
        assert "\n" not in error
    assert not (tmp_path / "out").exists()

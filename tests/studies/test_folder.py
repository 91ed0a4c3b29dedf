"""The folder of a study under way: what is damaged in it, and who works in it."""

from __future__ import annotations

import json
import logging
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from chg.errors import OutputError, ResultsError
from chg.studies.folder import StudyFolder

MANIFEST: dict[str, Any] = {"command": None, "configuration": {}, "seeds": [42]}
KEPT = ("initial_done", "pushed_done", "ablation", "check_facilitation")


@pytest.fixture
def folder(tmp_path: Path) -> StudyFolder:
    folder = StudyFolder(tmp_path / "run", MANIFEST, resume=False)
    for name in KEPT:
        folder.keep(name, {"logits": torch.randn(2, 3, 4), "step": torch.tensor(7)}, seconds=1 / 3)
    return folder


def _aside(folder: StudyFolder, name: str) -> Path:
    return folder.path / "continue" / f"{name}.safetensors"


def test_what_is_put_aside_reads_back(folder: StudyFolder) -> None:
    for name in KEPT:
        kept = folder.kept(name)
        assert kept is not None
        assert kept[0]["logits"].shape == (2, 3, 4)
        assert kept[1] == {"seconds": 1 / 3}
    assert folder.kept("pushed") is None


def test_no_byte_of_what_was_put_aside_changes_unseen(folder: StudyFolder) -> None:
    """Damage is noticed, or what is read is what was written."""
    path = _aside(folder, "ablation")
    whole = path.read_bytes()
    before = folder.kept("ablation")
    assert before is not None
    unseen = 0
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        after = folder.kept("ablation")
        if after is not None:
            unseen += 1
            assert after[1] == before[1]
            assert all(torch.equal(after[0][name], value) for name, value in before[0].items())
    assert unseen < 8  # bytes that say nothing: the padding of the header


@pytest.mark.parametrize(
    ("damaged", "left", "place"),
    [
        ("initial_done", set(), "from the stage G0"),
        ("pushed_done", {"initial_done"}, "from the stage G+ and G-"),
        ("ablation", set(KEPT) - {"ablation"}, "from the stage ablation"),
    ],
)
def test_what_came_after_damage_is_done_again(
    folder: StudyFolder,
    damaged: str,
    left: set[str],
    place: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    path = _aside(folder, damaged)
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    with caplog.at_level(logging.WARNING):
        assert folder.kept(damaged) is None
    assert [record.getMessage() for record in caplog.records] == [
        f"{path} is damaged; the study goes on {place}"
    ]
    assert {path.stem for path in path.parent.iterdir()} == left


def test_one_run_at_a_time(folder: StudyFolder) -> None:
    with folder:
        with pytest.raises(OutputError, match=r"another run works in .*run; wait for it"):
            StudyFolder(folder.path, MANIFEST, resume=True)
        assert folder.kept("ablation") is not None
    with StudyFolder(folder.path, MANIFEST, resume=True) as again:
        again.finish(MANIFEST)
    assert {path.name for path in folder.path.iterdir()} == {
        "manifest.json",
        "config.yaml",
        "continue",
    }
    assert StudyFolder(folder.path, MANIFEST, resume=True).finished


def test_a_killed_run_leaves_no_lock(tmp_path: Path) -> None:
    code = (
        "import os, signal; from chg.studies.folder import StudyFolder\n"
        f"StudyFolder({str(tmp_path / 'run')!r}, {MANIFEST!r}, resume=False)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run([sys.executable, "-c", code], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert (tmp_path / "run" / ".lock").exists()
    with StudyFolder(tmp_path / "run", MANIFEST, resume=True) as again:
        assert not again.finished


def test_a_damaged_manifest_is_named(folder: StudyFolder) -> None:
    path = folder.path / "manifest.json"
    content = json.loads(path.read_text())
    folder.__exit__()
    kept = []
    for name, wrong in (("model", []), ("configuration", None), ("seeds", "42"), ("data", 1)):
        path.write_text(json.dumps({**content, name: wrong}))
        with pytest.raises(ResultsError, match=rf"manifest\.json is not .*: {name} is ") as caught:
            StudyFolder(folder.path, MANIFEST, resume=True)
        kept.append(caught)  # and in it the traceback, which must not keep the lock

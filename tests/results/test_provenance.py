"""Provenance of results."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from chg.results.provenance import PACKAGE, git_commit

HERE = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}


def _git(*arguments: str, folder: Path) -> str:
    command = ["git", "-C", str(folder), "-c", "user.name=n", "-c", "user.email=e", *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=HERE)
    return done.stdout.strip()


def test_the_commit_inside_a_hook_of_another_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _git("init", "-q", folder=tmp_path)
    _git("commit", "-q", "--allow-empty", "-m", "another", folder=tmp_path)
    monkeypatch.setenv("GIT_DIR", str(tmp_path / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(tmp_path))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / ".git" / "index"))
    assert git_commit() == (_git("log", "-1", "--format=%H", "--", ".", folder=PACKAGE) or None)

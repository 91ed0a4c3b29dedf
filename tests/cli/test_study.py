"""`chg study` and `chg validate`: killed and resumed, and what they refuse."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from chg import study
from chg.cli.main import main
from chg.errors import DataError
from chg.selftest.planted import (
    copy_rows,
    planted_model,
)


def test_a_killed_process_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGKILL at a moment nobody chose, through the command line."""
    flags = "--model builtin:tiny --dataset builtin:copy --seeds 2 --max_steps 40 --limit 64"
    flags += " --eval_rows 16 --checkpoint_every 5 --check_seeds 1 --check_points 3 --quiet"
    command = ["study", *flags.split(), "--out"]
    killed = subprocess.Popen(
        [sys.executable, "-m", "chg", *command, str(tmp_path / "killed")],
        env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
    )
    checkpoint = tmp_path / "killed" / "continue" / "pushed.42.43.safetensors"
    deadline = time.monotonic() + 120
    while not checkpoint.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    monkeypatch.setattr("chg.report.folder.save_figures", lambda *_: [])
    assert main([*command, str(tmp_path / "killed"), "--resume"]) == 0
    settings = str(tmp_path / "killed" / "config.yaml")
    whole = str(tmp_path / "whole")
    assert main(["study", "--config", settings, "--out", whole, "--quiet"]) == 0
    for file in ("gates.safetensors", "metrics.jsonl", "heads.csv", "checks.json"):
        assert (tmp_path / "killed" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()
    assert main(["validate", str(tmp_path / "whole"), "--seeds", "2", "--eval_rows", "8"]) == 0
    assert (tmp_path / "whole" / "validation" / "checks.png").stat().st_size > 1000


def test_bad_input_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(DataError, match="at least 2"):
        study(planted_model(), copy_rows(1))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("")
    for arguments, message in (
        (["study", "--out", str(tmp_path / "full")], "never overwritten"),
        (["validate", str(tmp_path / "none")], "holds no study"),
        (["validate", str(tmp_path / "none"), "--points", "0"], "above 0"),
    ):
        assert main(arguments) == 2
        error = capsys.readouterr().err.strip()
        assert message in error
        assert "\n" not in error

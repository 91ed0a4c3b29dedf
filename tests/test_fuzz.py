"""A slice of the campaign of `make fuzz`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from support.repository import ROOT


def test_no_damaged_file_and_no_failing_machine_ends_in_a_traceback(tmp_path: Path) -> None:
    # A process of its own, since the campaign forks, and the threads of these tests do not.
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "support.fuzz", str(tmp_path)],
        env={"FUZZ_MINUTES": "1", **os.environ, "PYTHONPATH": f"{ROOT / 'tests'}:{ROOT / 'src'}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]

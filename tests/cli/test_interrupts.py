"""Interrupts at any moment, and a machine that has no more room: one line, and the exit code."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from chg.cli import demo, main
from support.limits import files_of_at_most

INTERRUPTED_AT = """
import os, signal, sys
number, moment = sys.argv[1:3]
sys.argv = ["chg", *sys.argv[3:]]
class Moment:
    def find_spec(self, name, *_):
        if name == moment:
            os.kill(os.getpid(), int(number))
sys.meta_path.insert(0, Moment())
from chg.__main__ import main
sys.exit(main())
"""

INTERRUPTED_INSIDE = """
import os, signal, sys, time
from chg import interrupts
from chg.__main__ import main
import chg.cli.demo

class Swallows:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)

def run(command):
    try:
        if "converted" in sys.argv:
            os.kill(os.getpid(), signal.SIGINT)
        elif "swallowed" in sys.argv:
            Swallows()
            time.sleep(20)
        else:
            signal.raise_signal(signal.SIGTERM)
    except KeyboardInterrupt as error:
        raise RuntimeError("in freetype") from error

chg.cli.demo.run = run
case, sys.argv = sys.argv[1], ["chg", "demo", "--output_dir", sys.argv[1]]
sys.exit(main())
"""


def run_code(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("moment", "signal"),
    [("chg.cli", 15), ("yaml", 2), ("tyro", 15), ("datasets", 2), ("torch", 2)],
)
def test_an_interrupt_during_imports_is_answered_in_one_line(moment: str, signal: int) -> None:
    result = run_code(INTERRUPTED_AT, str(signal), moment, "study", "--dataset", "builtin:icl")
    assert result.returncode == 130, result.stderr
    assert result.stderr == "chg study: interrupted; --resume goes on from here\n"


@pytest.mark.parametrize("case", ["converted", "swallowed", "terminated"])
def test_an_interrupt_that_a_library_turns_into_something_else_is_one(case: str) -> None:
    result = run_code(INTERRUPTED_INSIDE, case)
    assert result.returncode == 130, result.stderr
    assert result.stderr == "chg demo: interrupted; nothing half-written\n"


def test_a_study_that_finds_no_room_says_so_and_goes_on_when_there_is_some(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chg.report.folder.save_figures", lambda *_: [])  # they take seconds
    data = ["--model", "builtin:tiny", "--dataset", "builtin:icl", "--limit", "8", "--quiet"]
    small = ["--seeds", "1", "--max_steps", "2", "--eval_rows", "4", "--check_points", "2"]
    out = ["study", *data, *small, "--out", str(tmp_path / "run")]
    for limit in (200, 3000):
        with files_of_at_most(limit):
            assert main([*out, "--resume"]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "File too large" in line
    assert main([*out, "--resume"]) == 0
    assert not list(tmp_path.rglob("*.partial"))


def test_what_the_machine_refuses_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(_: object) -> None:
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
        try:
            Path(__file__).read_bytes()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)

    monkeypatch.setattr(demo, "run", run)
    assert main(["demo"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("chg demo: Too many open files (")

"""Machines that fail: kills, interrupts, full disks, and two processes on one folder.

Each case returns what is wrong, or nothing.
"""

from __future__ import annotations

import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import chg
from chg.errors import ChgError
from support.fuzz.files import SMALL

FIT = ["fit", *SMALL[:7], "--max_steps", "30"]
WHOLE_FIT = 6.0
"""Seconds within which a fit is killed."""


def start(arguments: list[str], place: Path, largest: int | None = None) -> subprocess.Popen[str]:
    """Start `chg` in a folder, where files may be so large."""

    def limit() -> None:
        if largest is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))

    return subprocess.Popen(
        [sys.executable, "-m", "chg", *arguments],
        cwd=place,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=limit,
    )


def judge(process: subprocess.Popen[str], codes: tuple[int, ...]) -> str:
    """Wait for a command, and say what is wrong with its end."""
    _, said = process.communicate(timeout=300)
    lines = [line for line in said.splitlines() if line.startswith("chg ")]
    if process.returncode not in codes:
        return f"exit code {process.returncode}: {said[-300:]}"
    if "Traceback" in said or (process.returncode and len(lines) != 1):
        return f"exit code {process.returncode} with {said[-300:]!r}"
    return ""


def kill_a_fit(place: Path, number: int) -> str:
    """Kill a fit over an old file at any moment: the old file or a whole one, and no rest."""
    rng = random.Random(number)
    out = place / "gates.safetensors"
    out.write_bytes(b"old")
    process = start([*FIT, "--out", out.name], place)
    time.sleep(rng.uniform(0, WHOLE_FIT))
    number_of_signal = rng.choice((signal.SIGKILL, signal.SIGTERM, signal.SIGINT))
    process.send_signal(number_of_signal)
    # The first milliseconds are those of Python, which knows nothing of chg yet.
    # Python ends by SIGINT itself where an interrupt passed code run from C: 130 to a shell.
    interrupted = (0, 130, -signal.SIGINT)
    codes = interrupted if number_of_signal != signal.SIGKILL else (0, -signal.SIGKILL)
    killed = number_of_signal == signal.SIGKILL
    wrong = "" if killed and process.wait() in codes else judge(process, codes)
    if out.read_bytes() != b"old":
        try:
            chg.HeadGates.load(out)
        except ChgError as error:
            wrong = f"a torn file: {error}"
    return wrong


def fill_the_disk(place: Path, number: int) -> str:
    """Run a study where no file may be larger than so; then there is room, and it goes on."""
    largest = int(10 ** random.Random(number).uniform(0, 5))
    study = ["study", *SMALL, "--out", "run"]
    wrong = judge(start(study, place, largest), (0, 2))
    return wrong or judge(start([*study, "--resume"], place), (0, 2))


def start_two(place: Path, _: int) -> str:
    """Start two studies in one folder: one is done, the other is refused or goes on from it."""
    study = ["study", *SMALL, "--out", "run", "--resume"]
    both = [start(study, place) for _ in range(2)]
    ends = [judge(process, (0, 2)) for process in both]
    if all(process.returncode for process in both):
        ends.append("neither was done")
    return "; ".join(end for end in ends if end)


MACHINE_CASES: tuple[tuple[str, Callable[[Path, int], str]], ...] = (
    ("kill", kill_a_fit),
    ("kill", kill_a_fit),
    ("full disk", fill_the_disk),
    ("kill", kill_a_fit),
    ("kill", kill_a_fit),
    ("two", start_two),
)

"""Cases by number, each from its own seed; what is found goes to `findings.jsonl`.

A case ends well if its file is read, or refused by one line. Cases run in a process of their own,
some at a time, because a reader may take the process with it; `progress.json` says where to go on.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import tempfile
import time
import traceback
from pathlib import Path

from chg.errors import LONGEST_MESSAGE, ChgError
from support.fuzz.files import KINDS, Kind, make_case, make_originals
from support.fuzz.machines import MACHINE_CASES

CASES_OF_A_PROCESS = 20
LONGEST_CASE = 60
"""Seconds."""
SHARE_OF_FILES = 0.7
"""Share of the time for damaged files; the rest is for machines that fail."""


def run_campaign(folder: Path, minutes: float) -> tuple[int, list[dict[str, str]]]:
    """Run cases until the time is over, from where the last campaign in the folder ended.

    Returns:
        The number of cases tried so far, and everything found so far.
    """
    folder.mkdir(parents=True, exist_ok=True)
    originals, progress = folder / "originals", folder / "progress.json"
    if not progress.is_file():
        originals.mkdir(exist_ok=True)
        make_originals(originals)
        progress.write_text("{}")
    done: dict[str, int] = json.loads(progress.read_text())
    began = time.monotonic()
    # The kind that is furthest behind its share comes first.
    while time.monotonic() - began < 60 * minutes * SHARE_OF_FILES:
        kind = min(KINDS, key=lambda kind: done.get(kind.name, 0) / kind.share)
        done[kind.name] = _run_cases(folder, kind, done.get(kind.name, 0))
        progress.write_text(json.dumps(done))
    while time.monotonic() - began < 60 * minutes:
        name, case = MACHINE_CASES[done.get("machines", 0) % len(MACHINE_CASES)]
        with tempfile.TemporaryDirectory() as place:
            wrong = case(Path(place), done.get("machines", 0))
        if wrong:
            _note(folder, name, done.get("machines", 0), wrong)
        done["machines"] = done.get("machines", 0) + 1
        progress.write_text(json.dumps(done))
    found = folder / "findings.jsonl"
    lines = found.read_text().splitlines() if found.is_file() else []
    return sum(done.values()), [json.loads(line) for line in lines]


def _run_cases(folder: Path, kind: Kind, first: int) -> int:
    """Run some cases in a process of their own; returns the number of the next one."""
    count = max(1, round(CASES_OF_A_PROCESS * kind.share))
    current = folder / "current"
    child = os.fork()
    if child == 0:
        try:
            with tempfile.TemporaryDirectory() as place:
                for number in range(first, first + count):
                    current.write_text(str(number))
                    _run_case(folder, kind, number, Path(place))
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        number = int(current.read_text())
        _note(folder, kind.name, number, f"the process died of signal {os.WTERMSIG(status)}")
        return number + 1
    return first + count


def _run_case(folder: Path, kind: Kind, number: int, place: Path) -> None:
    path = make_case(folder / "originals", kind, number, place)
    errors = io.StringIO()
    signal.signal(signal.SIGALRM, _stop)
    signal.alarm(LONGEST_CASE)
    try:
        with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
            kind.read(path)
        said = [line for line in errors.getvalue().splitlines() if line.startswith("chg ")]
        wrong = "" if len(said) <= 1 else f"{len(said)} lines"
    except ChgError as error:
        whole = len(str(error).splitlines()) == 1 and len(str(error)) <= LONGEST_MESSAGE
        wrong = "" if whole else f"a wall of text: {str(error)[:200]}"
    except TookTooLongError:
        wrong = f"it took more than {LONGEST_CASE} s"
    except BaseException as error:
        at = traceback.extract_tb(error.__traceback__)
        ours = [frame for frame in at if "/chg/" in frame.filename][-1:]
        wrong = f"{type(error).__name__}: {str(error)[:200]}" + "".join(
            f" at {Path(frame.filename).name}:{frame.lineno}" for frame in ours
        )
    finally:
        signal.alarm(0)
    if wrong:
        _note(folder, kind.name, number, wrong)


class TookTooLongError(BaseException):
    """A case goes on and on; no `Exception`, so that no reader takes it for one of its own."""


def _stop(_: int, __: object) -> None:
    raise TookTooLongError


def _note(folder: Path, kind: str, number: int, wrong: str) -> None:
    with (folder / "findings.jsonl").open("a") as file:
        file.write(json.dumps({"kind": kind, "case": str(number), "wrong": wrong}) + "\n")

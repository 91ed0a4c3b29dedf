"""Interrupts of the command line: Ctrl-C and SIGTERM end it in one line, whenever they come.

Libraries may be in the middle of anything then, and turn the interrupt into an error of their own,
or swallow it. So it is remembered that one came: whatever error follows is no news.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Sequence
from types import FrameType

EXIT_CODE = 130
PATIENCE = 0.1
"""Seconds until an interrupt that was swallowed is repeated."""

_came = threading.Event()
_answered = threading.Event()
"""Set once nothing is to be interrupted any more: Python, as it ends, knows no handler."""


def watch() -> None:
    """Remember interrupts, and take SIGTERM for one; for a process that is a command line."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    sys.unraisablehook = _repeat


def ignore() -> None:
    """Ignore interrupts: the work is done, or has been given up."""
    _answered.set()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def interrupted() -> bool:
    """True once an interrupt came."""
    return _came.is_set()


def say_interrupted(arguments: Sequence[str]) -> int:
    """Print the line of an interrupted command, and return its exit code."""
    verb = next((f" {word}" for word in arguments[:1] if not word.startswith("-")), "")
    after = "--resume goes on from here" if verb == " study" else "nothing half-written"
    print(f"chg{verb}: interrupted; {after}", file=sys.stderr)  # noqa: T201
    return EXIT_CODE


def _interrupt(_: int, __: FrameType | None) -> None:
    _came.set()
    raise KeyboardInterrupt


def _repeat(unraisable: sys.UnraisableHookArgs) -> None:
    """Interrupt again after an interrupt that could not be raised where it came."""
    if not interrupted():
        sys.__unraisablehook__(unraisable)
    elif isinstance(unraisable.exc_value, KeyboardInterrupt):
        main = threading.main_thread().ident
        assert main is not None
        timer = threading.Timer(PATIENCE, _interrupt_again, (main,))
        timer.daemon = True
        timer.start()


def _interrupt_again(main: int) -> None:
    if not _answered.is_set():
        signal.pthread_kill(main, signal.SIGINT)

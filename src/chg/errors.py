"""Errors that a user can cause, in one small tree.

The command line turns a `ChgError` into one line on stderr and exit code 2; Python users catch
`ChgError` (or the branch they care about). Messages name the value, the place and the fix.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from typing import Any

LONGEST_VALUE = 80
"""Characters of a value in a message at most."""
LONGEST_PATH = 300
"""The same of a path, which must be found again by what is shown."""
LONGEST_MESSAGE = 800

_VALUE = re.compile(r"(?<!\w)'[^']*'(?!\w)|(?<!\w)\"[^\"]*\"(?!\w)|\S+")


def perhaps(value: object, choices: Iterable[str]) -> str:
    """Name the choice that is nearest to a wrong one, in brackets; empty where none is near."""
    near = difflib.get_close_matches(str(value), list(choices), n=1, cutoff=0.4)
    return f" (perhaps you meant {near[0]})" if near else ""


def one_line(message: object) -> str:
    """A message as one line that any terminal can show, with long values in it cut."""
    text = str(message).encode("utf-8", "backslashreplace").decode("utf-8")
    text = "".join(c if c.isprintable() else " " for c in text)
    # Before the search for values, which need not look at megabytes.
    text = _cut(" ".join(text.split()), 10 * LONGEST_MESSAGE)
    return _cut(_VALUE.sub(_shortened, text), LONGEST_MESSAGE)


def reason(error: BaseException) -> str:
    """The reason that the first cause of an error gives, in its first line."""
    while error.__cause__ is not None:
        error = error.__cause__
    said = getattr(error, "strerror", None) or str(error)
    return (str(said).strip().splitlines() or [type(error).__name__])[0]


def _shortened(value: re.Match[str]) -> str:
    text = value.group()
    is_path = "/" in text and " " not in text
    return _cut(text, LONGEST_PATH if is_path else LONGEST_VALUE)


def _cut(text: str, longest: int) -> str:
    """A text without its middle, where it is longer than it may be."""
    if len(text) <= longest:
        return text
    kept = longest - 3
    return f"{text[: kept - kept // 3]}...{text[-(kept // 3) :]}"


class ChgError(Exception):
    """Base of all errors that are the input's fault, not the program's."""

    def __init__(self, message: str = "") -> None:
        super().__init__(one_line(message))


class ConfigError(ChgError):
    """A setting is outside what it may be, or two settings contradict each other."""


class ModelError(ChgError):
    """A model or tokenizer could not be loaded."""


class ArchitectureError(ChgError):
    """The attention heads of a model could not be found, or are not where they were said to be."""


class GateError(ChgError):
    """Gates do not fit the model: wrong shape, out of range, or another batch size."""


class GateFileError(GateError):
    """A gate file is missing, damaged, unsafe or not a gate file."""


class DataError(ChgError):
    """Data could not be loaded, or has nothing to score."""


class ResultsError(ChgError):
    """A results file is missing, damaged or of another kind."""


class OutputError(ChgError):
    """A file or folder cannot be written."""


class MemoryRunsOutError(ChgError):
    """A single row does not fit into memory."""


class DivergedError(ChgError):
    """The loss became NaN or infinite; `last_good` holds the gates of every fit before it."""

    def __init__(self, message: str, last_good: Sequence[Any] = ()) -> None:
        super().__init__(message)
        self.last_good = tuple(last_good)
        """`HeadGates`, one per fit."""

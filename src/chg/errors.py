"""Errors that a user can cause, in one small tree.

The command line turns a `ChgError` into one line on stderr and exit code 2; Python users catch
`ChgError` (or the branch they care about). Messages name the value, the place and the fix.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class ChgError(Exception):
    """Base of all errors that are the input's fault, not the program's."""


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

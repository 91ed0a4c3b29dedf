"""Known answers: small models whose right results follow from how they are made.

    from chg.selftest import run_selftest
    assert all(check.passed for check in run_selftest())

1. Random models of three families: what gates do equals what edits of weights do, and the engine
   equals plain loops of full forward passes (`models.py`, `plain.py`).
2. A model whose heads' roles are written into its weights, and one with duplicates of which either
   suffices (`builtin/planted.py`): fits, ablation and contrastive gates must find them.

All on the CPU, without a network; nothing of it depends on what is installed besides the package.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

__all__ = ["Check", "run_selftest"]


@dataclass(frozen=True)
class Check:
    """One check that was run."""

    name: str
    expected: str
    found: str
    """Or the error that it ended with."""
    passed: bool


def run_selftest(on_check: Callable[[Check], None] | None = None) -> tuple[Check, ...]:
    """Run every check, whatever the others found.

    Args:
        on_check: called with every check as soon as it was run.
    """
    from chg.selftest.checks import TESTS
    from chg.selftest.workbench import Workbench

    bench, done = Workbench(), []
    with _without_log():
        for test in TESTS:
            try:
                found, passed = test.find(bench)
            except Exception as error:  # whatever is broken, the other checks say more about it
                found, passed = f"{type(error).__name__}: {error}", False
            done.append(Check(test.name, test.expected, found, passed))
            if on_check is not None:
                on_check(done[-1])
    return tuple(done)


@contextmanager
def _without_log() -> Iterator[None]:
    """Fits report their progress where no bar is shown; a table of results needs none of it."""
    logger = logging.getLogger("chg")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)

"""The run of every check, whatever the others find."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class CheckResult:
    """One check that was run."""

    name: str
    expected: str
    found: str
    """Or the error that it ended with."""
    passed: bool


def run_selftest(on_check: Callable[[CheckResult], None] | None = None) -> tuple[CheckResult, ...]:
    """Run every check, whatever the others found.

    Args:
        on_check: called with every check as soon as it was run.
    """
    from chg.selftest.checks import CHECKS
    from chg.selftest.fixtures import Fixtures

    bench, done = Fixtures(), []
    with _without_log():
        for test in CHECKS:
            try:
                found, passed = test.find(bench)
            except Exception as error:  # whatever is broken, the other checks say more about it
                found, passed = f"{type(error).__name__}: {error}", False
            done.append(CheckResult(test.name, test.expected, found, passed))
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

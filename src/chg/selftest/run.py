"""Run of all checks, each on its own: one that fails stops no other."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class CheckResult:
    """Outcome of one check."""

    name: str
    expected: str
    found: str
    """Outcome in words, or the error that ended the check."""
    passed: bool


def run_selftest(on_check: Callable[[CheckResult], None] | None = None) -> tuple[CheckResult, ...]:
    """Run every check, whatever the others found.

    Args:
        on_check: called with the result of every check as soon as it was run.

    Returns:
        The results, in the order of `CHECKS`.
    """
    from chg.selftest.checks import CHECKS
    from chg.selftest.fixtures import Fixtures

    fixtures, results = Fixtures(), []
    with _without_log():
        for check in CHECKS:
            try:
                outcome, passed = check.find(fixtures)
            except Exception as error:  # whatever is broken, the other checks say more about it
                outcome, passed = f"{type(error).__name__}: {error}", False
            results.append(CheckResult(check.name, check.expected, outcome, passed))
            if on_check is not None:
                on_check(results[-1])
    return tuple(results)


@contextmanager
def _without_log() -> Iterator[None]:
    """Silence the log: fits report progress there when no bar is shown."""
    logger = logging.getLogger("chg")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)

"""Self-test on known answers: small models whose right results follow from their weights."""

from chg.selftest.checks import CHECKS
from chg.selftest.run import CheckResult, run_selftest

__all__ = [
    "CHECKS",
    "CheckResult",
    "run_selftest",
]

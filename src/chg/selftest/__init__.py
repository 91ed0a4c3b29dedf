"""Known answers: small models whose right results follow from how they are made."""

from chg.selftest.checks import CHECKS
from chg.selftest.run import CheckResult, run_selftest

__all__ = [
    "CHECKS",
    "CheckResult",
    "run_selftest",
]

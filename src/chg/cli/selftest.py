"""`chg selftest`: check the installation against known answers."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from chg.cli.terminal import Output, print_table, say

if TYPE_CHECKING:
    from chg.selftest import CheckResult


EXAMPLES = """\
  chg selftest"""

FAILED_EXIT = 1


@dataclass(frozen=True)
class Command:
    """Check the installation on small models whose right answers are known; needs no network."""

    output: Output = field(default_factory=Output)


def run(command: Command) -> int:
    """Run the checks, print them, and return the exit code: 1 if any failed."""
    from chg.progress import progress_bar
    from chg.results import package_versions
    from chg.selftest import CHECKS, run_selftest

    versions = package_versions()
    named = ("chg", "torch", "transformers", "numpy", "python")
    say(", ".join(f"{name} {versions[name]}" for name in named))
    began = time.perf_counter()
    with progress_bar(len(CHECKS), "checking", show=not command.output.quiet, unit="check") as bar:

        def on_check(check: CheckResult) -> None:
            bar.set_status(check.name)
            bar.update()

        checks = run_selftest(on_check)
    print_table(
        "Known answers",
        ("check", "expected", "found", "ok"),
        [(c.name, c.expected, c.found, "yes" if c.passed else "NO") for c in checks],
    )
    failed = [check.name for check in checks if not check.passed]
    passed = len(checks) - len(failed)
    say(f"{passed} of {len(checks)} checks passed in {time.perf_counter() - began:.1f} s")
    if not failed:
        return 0
    names = "; ".join(failed)
    sys.stderr.write(f"chg selftest: {len(failed)} of {len(checks)} checks failed: {names}\n")
    return FAILED_EXIT

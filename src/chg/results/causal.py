"""Proofs of a study, in memory and on disk: the causal check, and what closing heads together does.

1. Curves of the causal check, and rank correlations of scores with measured effects.
2. The effect of closing all heads of a role together, all others open.
3. Pairs of heads of which either suffices (`redundancy.py`).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chg.config import Head
from chg.errors import ResultsError
from chg.files import read_json, write_json
from chg.results.redundancy import RedundantPair
from chg.results.schema import Figure, read_record

FORMAT_VERSION = 2
KIND = "a causal check as `chg study` writes it"
"""Name of a file of checks in error messages."""


@dataclass(frozen=True)
class CausalCurve:
    """Effect on held-out rows of toggling heads in the order of one score, from G+.

    The difference at a step is the metric (mean target log-probability, nats per token) with the
    first heads of the order at 0 minus that with them at 1, all others at their retention gates.
    """

    score: str
    """`facilitation`, `irrelevance` or `interference`."""
    expected: str
    """`negative`, `zero` or `positive`: the sign that the role asks of the difference."""
    counts: NDArray[np.int64]
    """`[step]`: heads toggled."""
    difference: NDArray[np.float64]
    """`[seed, step]`, nats per token."""
    in_role: float
    """Number of heads that have the role, mean over the seeds; the expectation ends there."""
    heads: tuple[tuple[Head, ...], ...]
    """`[seed][k]`: the order, as far as it was followed."""
    holds: bool | None
    """True if the difference is as expected where the role's heads are, False if it is not; None if
    the rows are too few to say, or no head has the role."""
    verdict: str
    """`holds` in words and numbers."""
    judged_at: int | None = None
    """Heads toggled at the step that is judged: as many as have the role."""
    value: float | None = None
    """Difference there, mean over seeds and rows."""
    low: float | None = None
    high: float | None = None
    """Its 95 % interval over rows; None for a single row."""
    tolerance: float | None = None
    """Nats per token within which a difference counts as about zero."""

    def __repr__(self) -> str:
        return f"<CausalCurve of {self.score}: {self.verdict}>"


@dataclass(frozen=True)
class Correlation:
    """Rank correlation of one score with one measured effect, over all heads."""

    score: str
    effect: str
    """Name of the measured effect, in words."""
    spearman: Figure

    def row(self) -> dict[str, Any]:
        """The correlation as a row of a table."""
        return {"score": self.score, "effect": self.effect, "spearman": self.spearman}


@dataclass(frozen=True)
class GroupEffect:
    """Effect on held-out rows of closing all heads of a role together, all others open."""

    role: str
    """A role in full; heads that have it in part are closed too."""
    heads: int
    score: float
    """Change of the mean target log-probability, nats per token."""
    low: float | None
    high: float | None
    """Its 95 % interval over rows; None for a single row."""
    accuracy: float
    """Share of target tokens that are still right."""


@dataclass(frozen=True)
class Checks:
    """All proofs of a study; the content of `checks.json`."""

    curves: tuple[CausalCurve, ...] = ()
    """The causal check; empty where it was left out."""
    correlations: tuple[Correlation, ...] = ()
    groups: tuple[GroupEffect, ...] = ()
    redundant: tuple[RedundantPair, ...] = ()
    proposed: int = 0
    """Pairs that were tested for redundancy."""
    tolerance: float | None = None
    """Nats per token that count as about zero; None where nothing sets it."""


def write_checks(path: Path, checks: Checks) -> None:
    """Write the proofs of a study as JSON, atomically.

    Raises:
        OutputError: `path` cannot be written.
    """
    curves = [
        {**asdict(curve), "counts": curve.counts.tolist(), "difference": curve.difference.tolist()}
        for curve in checks.curves
    ]
    rows = [
        {
            **correlation.row(),
            "spearman": None if np.isnan(correlation.spearman) else correlation.spearman,
        }
        for correlation in checks.correlations
    ]
    content = {
        "format_version": FORMAT_VERSION,
        "curves": curves,
        "correlations": rows,
        "groups": [asdict(group) for group in checks.groups],
        "redundant": [asdict(pair) for pair in checks.redundant],
        "proposed": checks.proposed,
        "tolerance": checks.tolerance,
    }
    write_json(path, content)


def read_checks(path: Path) -> Checks:
    """Read what `write_checks` wrote.

    Raises:
        ResultsError: the file is missing or damaged.
    """
    content = read_json(path, KIND)
    content.pop("format_version", None)
    checks = read_record(Checks, content, path, KIND)
    for i, curve in enumerate(checks.curves):
        if curve.difference.shape != (len(curve.heads), len(curve.counts)):
            raise ResultsError(
                f"{path} is not {KIND}: curves[{i}].difference is {curve.difference.shape}, for "
                f"{len(curve.heads)} seeds and {len(curve.counts)} steps"
            )
    return checks

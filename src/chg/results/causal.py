"""Curves of the causal check and correlations of scores with effects, in memory and on disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chg.config import Head
from chg.errors import ResultsError
from chg.files import read_json, write_json

FORMAT_VERSION = 1
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
    """True if the difference has the expected sign where the role's heads are; None if no head has
    the role."""
    verdict: str
    """`holds` in words and numbers."""

    def __repr__(self) -> str:
        return f"<CausalCurve of {self.score}: {self.verdict}>"


@dataclass(frozen=True)
class Correlation:
    """Rank correlation of one score with one measured effect, over all heads."""

    score: str
    effect: str
    """Name of the measured effect, in words."""
    spearman: float

    def row(self) -> dict[str, Any]:
        """The correlation as a row of a table."""
        return {"score": self.score, "effect": self.effect, "spearman": self.spearman}


def write_checks(
    path: Path, checks: Sequence[CausalCurve], correlations: Sequence[Correlation]
) -> None:
    """Write the causal check as JSON, atomically.

    Raises:
        OutputError: `path` cannot be written.
    """
    curves = [
        {**asdict(curve), "counts": curve.counts.tolist(), "difference": curve.difference.tolist()}
        for curve in checks
    ]
    rows = [
        {
            **correlation.row(),
            "spearman": None if np.isnan(correlation.spearman) else correlation.spearman,
        }
        for correlation in correlations
    ]
    content = {"format_version": FORMAT_VERSION, "curves": curves, "correlations": rows}
    write_json(path, content)


def read_checks(path: Path) -> tuple[tuple[CausalCurve, ...], tuple[Correlation, ...]]:
    """Read what `write_checks` wrote.

    Raises:
        ResultsError: the file is missing or damaged.
    """
    content = read_json(path, KIND)
    try:
        curves = tuple(_curve(entry) for entry in content["curves"])
        correlations = tuple(
            Correlation(
                row["score"],
                row["effect"],
                float("nan") if row["spearman"] is None else float(row["spearman"]),
            )
            for row in content["correlations"]
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ResultsError(f"{path} is not {KIND}: {error}") from error
    return curves, correlations


def _curve(content: Mapping[str, Any]) -> CausalCurve:
    counts: NDArray[np.int64] = np.asarray(content["counts"], dtype=np.int64)
    orders = tuple(
        tuple((int(layer), int(head)) for layer, head in order) for order in content["heads"]
    )
    return CausalCurve(
        **{
            **content,
            "counts": counts,
            "difference": np.asarray(content["difference"], dtype=np.float64),
            "heads": orders,
        }
    )

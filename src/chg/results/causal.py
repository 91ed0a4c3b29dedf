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


@dataclass(frozen=True)
class CausalCurve:
    """What happens to held-out rows when heads are toggled in order of one score, from G+.

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
    """Heads that have the role, mean over the seeds: beyond them the expectation ends."""
    heads: tuple[tuple[Head, ...], ...]
    """`[seed][k]`: the order, as far as it was followed."""
    holds: bool | None
    """Whether the difference has the expected sign where the role's heads are; None if no head has
    the role."""
    verdict: str
    """The same in words and numbers."""


@dataclass(frozen=True)
class Correlation:
    """Rank correlation of one score with one measured effect, over all heads."""

    score: str
    effect: str
    """What was measured, in words."""
    spearman: float

    def row(self) -> dict[str, Any]:
        """As a row of a table."""
        return {"score": self.score, "effect": self.effect, "spearman": self.spearman}


def write_checks(
    path: Path, checks: Sequence[CausalCurve], correlations: Sequence[Correlation]
) -> None:
    """Write the causal check as JSON."""
    curves = [
        {**asdict(curve), "counts": curve.counts.tolist(), "difference": curve.difference.tolist()}
        for curve in checks
    ]
    rows = [
        {**one.row(), "spearman": None if np.isnan(one.spearman) else one.spearman}
        for one in correlations
    ]
    content = {"format_version": FORMAT_VERSION, "curves": curves, "correlations": rows}
    write_json(path, content)


def read_checks(path: Path) -> tuple[tuple[CausalCurve, ...], tuple[Correlation, ...]]:
    """Read it back.

    Raises:
        ResultsError: it is damaged.
    """
    content = read_json(path)
    try:
        curves = tuple(_curve(one) for one in content["curves"])
        correlations = tuple(
            Correlation(
                one["score"],
                one["effect"],
                float("nan") if one["spearman"] is None else float(one["spearman"]),
            )
            for one in content["correlations"]
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ResultsError(f"{path} is not a causal check as `chg study` writes it") from error
    return curves, correlations


def _curve(content: Mapping[str, Any]) -> CausalCurve:
    counts: NDArray[np.int64] = np.asarray(content["counts"], dtype=np.int64)
    orders = tuple(tuple((int(a), int(b)) for a, b in order) for order in content["heads"])
    return CausalCurve(
        **{
            **content,
            "counts": counts,
            "difference": np.asarray(content["difference"], dtype=np.float64),
            "heads": orders,
        }
    )

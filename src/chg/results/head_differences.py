"""Heads that differ between two runs by more than their seeds do.

A head differs if all of this holds of its facilitation, or of its interference:

- Welch's t test over seeds, with `q` below 0.05 over all heads and both scores,
- the seeds of one run are all above those of the other,
- their means are apart by `APART`, below which a gate counts as at rest.

Gates near 0 and 1 make a t test rough: three that happen to agree have no spread. So the same is
counted after other deals of the seeds to the runs; no head is called different where chance makes
up more than 5 % of the heads that pass (docs/evidence.md#comparisons).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chg.results.deals import other_deals
from chg.results.intervals import SIGNIFICANT, q_values
from chg.results.roles import MOVED

APART = MOVED
"""Least difference of two means of gates."""
FEWEST_SEEDS = 3
"""Seeds of either run below which nothing is said of a single head."""

Array = NDArray[np.float64]
Pair = tuple[Array, Array]
"""A score of two runs, each `[seed, head]`."""


@dataclass(frozen=True)
class HeadDifferences:
    """Differences of every head between two runs."""

    change: Sequence[Array]
    """Mean of the right run less that of the left, `[head]`, for each score."""
    q: Sequence[Array]
    """Welch's test over seeds, corrected for all heads and scores; NaN with too few seeds."""
    differs: NDArray[np.bool_]
    """Heads that differ, `[head]`."""
    passing: int
    """Heads that pass the test; none differs where chance makes up too many of them."""
    by_chance: float
    """Heads that pass it after another deal of the seeds, mean over deals; NaN with too few seeds.
    """


def head_differences(scores: Sequence[Pair]) -> HeadDifferences:
    """Tell which heads differ by more than the seeds of either run do.

    Args:
        scores: the same scores of two runs.
    """
    left, right = (len(values) for values in scores[0])
    change = [other.mean(0) - one.mean(0) for one, other in scores]
    nowhere = np.zeros(change[0].shape, dtype=bool)
    if min(left, right) < FEWEST_SEEDS:
        unknown = [np.full_like(one, np.nan) for one in change]
        return HeadDifferences(change, unknown, nowhere, 0, float("nan"))
    q = _q_values(scores)
    passing = _passing(scores, q)
    by_chance = float(np.mean(_passing_by_chance(scores)))
    sure = by_chance <= SIGNIFICANT * passing.sum()
    return HeadDifferences(change, q, passing if sure else nowhere, int(passing.sum()), by_chance)


def _passing_by_chance(scores: Sequence[Pair]) -> list[int]:
    """Count the heads that pass after every other deal of the seeds."""
    all_seeds = [np.concatenate(pair) for pair in scores]
    counts = []
    for on_left in other_deals(*(len(values) for values in scores[0])):
        dealt = [(values[on_left], values[~on_left]) for values in all_seeds]
        # Tests cost the most, and a head with seeds that overlap passes none.
        candidates = np.any([_apart(*pair) for pair in dealt], axis=0)
        counts.append(int(_passing(dealt, _q_values(dealt)).sum()) if candidates.any() else 0)
    return counts


def _q_values(scores: Sequence[Pair]) -> Sequence[Array]:
    return list(q_values(np.stack([welch_p_values(*pair) for pair in scores])))


def _passing(scores: Sequence[Pair], q: Sequence[Array]) -> NDArray[np.bool_]:
    found = [
        _apart(*pair) & (of_score < SIGNIFICANT) for pair, of_score in zip(scores, q, strict=True)
    ]
    return np.asarray(np.any(found, axis=0))


def _apart(left: Array, right: Array) -> NDArray[np.bool_]:
    """Tell where no seed of one run is among those of the other, and the means are apart."""
    gap = np.maximum(left.min(0) - right.max(0), right.min(0) - left.max(0))
    return np.asarray((gap > 0) & (np.abs(left.mean(0) - right.mean(0)) >= APART))


def welch_p_values(left: Array, right: Array) -> Array:
    """P values of two means being the same, two-sided, by Welch's t test.

    Args:
        left: `[measurement, ...]`.
        right: the same, of as many measurements or others.

    Returns:
        P values; 1 where nothing differs, 0 where means differ and nothing spreads.
    """
    return t_p_values(
        right.mean(0) - left.mean(0),
        (left.std(0, ddof=1) / np.sqrt(len(left)), right.std(0, ddof=1) / np.sqrt(len(right))),
        (len(left), len(right)),
    )


def t_p_values(
    difference: Array, stderrs: tuple[Array, Array], measurements: tuple[int, int]
) -> Array:
    """P values of differences of two independent means, with Welch's degrees of freedom.

    Args:
        difference: of the means.
        stderrs: standard errors of either mean.
        measurements: numbers that either is a mean over.
    """
    from scipy.stats import t

    variances = [error**2 for error in stderrs]
    total = variances[0] + variances[1]
    parts = [one**2 / (count - 1) for one, count in zip(variances, measurements, strict=True)]
    with np.errstate(divide="ignore", invalid="ignore"):
        degrees = total**2 / (parts[0] + parts[1])
        p = 2 * t.sf(np.abs(difference) / np.sqrt(total), degrees)
    certain = np.where(difference == 0, 1.0, 0.0)
    return np.asarray(np.where(total == 0, certain, p))

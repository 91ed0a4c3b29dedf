"""Likeness of runs: overlap of facilitating heads and rank correlation, between seeds.

Pairs of seeds are not independent, each seed is in many of them. So intervals come from leaving out
one seed after the other (docs/evidence.md#comparisons).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chg.results.deals import other_deals
from chg.results.intervals import t_quantile
from chg.results.schema import Count, Figure

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
Seeds = Sequence[int]


@dataclass(frozen=True)
class Likeness:
    """Likeness of two seeds, mean over all pairs; NaN where there is no pair."""

    mean: Figure
    low: Figure
    """Lower end of its 95 % interval; NaN with fewer than three seeds of a run."""
    high: Figure
    lowest: Figure
    """The least alike pair."""
    highest: Figure
    pairs: Count

    @property
    def has_interval(self) -> bool:
        """True where there are seeds enough for an interval."""
        return bool(np.isfinite(self.low))


def within_run(matrix: Array, seeds: Seeds) -> Likeness:
    """Likeness between two seeds of one run.

    Args:
        matrix: likeness of every two seeds, `[seed, seed]`.
        seeds: numbers of the seeds.
    """
    usable = np.triu(np.isfinite(matrix), 1)
    return _likeness(matrix, usable, seeds, seeds)


def between_runs(matrix: Array, left: Seeds, right: Seeds) -> Likeness:
    """Likeness between a seed of one run and a seed of another.

    Seeds of one number start from the same gates, which no two seeds of one run do. Such pairs are
    left out, so that the figure can stand beside that within a run; unless there are no others.

    Args:
        matrix: likeness of every seed of one with every seed of the other, `[left, right]`.
        left: numbers of the seeds of one.
        right: the same of the other.
    """
    defined = np.isfinite(matrix)
    apart = defined & _apart(left, right)
    return _likeness(matrix, apart if apart.any() else defined, left, right)


def chance_of_gap(matrix: Array, left: Seeds, right: Seeds) -> float:
    """P value of two runs being less alike than seeds of one run are, by dealing their seeds.

    Args:
        matrix: likeness of every two seeds of both, those of the left run first, `[seed, seed]`.
        left: numbers of the seeds of the one.
        right: the same of the other.

    Returns:
        Share of all deals, the one that was found among them, at which the runs are as far apart;
        NaN where a run has a single seed.
    """
    if min(len(left), len(right)) < 2:
        return float("nan")
    seeds = [*left, *right]
    usable = np.isfinite(matrix) & _apart(seeds, seeds)
    found = np.arange(len(seeds)) < len(left)
    gaps = np.array([_gap(matrix, usable, deal) for deal in other_deals(len(left), len(right))])
    gap = _gap(matrix, usable, found)
    if np.isnan(gap) or not np.isfinite(gaps).any():
        return float("nan")
    gaps = gaps[np.isfinite(gaps)]
    return float((1 + (gaps >= gap - 1e-12).sum()) / (1 + len(gaps)))


def _gap(matrix: Array, usable: Mask, on_left: Mask) -> float:
    """Likeness within the two sides, less that between them."""
    right = ~on_left
    inside = [_mean(matrix, usable & side[:, None] & side[None]) for side in (on_left, right)]
    return float(np.mean(inside)) - _mean(matrix, usable & on_left[:, None] & right[None])


def _apart(left: Seeds, right: Seeds) -> Mask:
    return np.asarray(np.asarray(left)[:, None] != np.asarray(right)[None])


def _mean(matrix: Array, usable: Mask) -> float:
    return float(matrix[usable].mean()) if usable.any() else float("nan")


def _likeness(matrix: Array, usable: Mask, left: Seeds, right: Seeds) -> Likeness:
    """Mean of the usable entries with a jackknife interval over seeds.

    A seed of both runs is left out of both: its fits began at the same gates.
    """
    if not usable.any():
        nothing = float("nan")
        return Likeness(nothing, nothing, nothing, nothing, nothing, 0)
    mean, values = _mean(matrix, usable), matrix[usable]
    variance = 0.0
    for seed in {*left, *right}:
        kept = usable & (np.asarray(left) != seed)[:, None] & (np.asarray(right) != seed)[None]
        seeds = max(len(run) for run in (left, right) if seed in run)
        variance += (seeds - 1) / seeds * (_mean(matrix, kept) - mean) ** 2
    reach = t_quantile(min(len(left), len(right))) * float(np.sqrt(variance))
    low, high = max(mean - reach, -1.0 if values.min() < 0 else 0.0), min(mean + reach, 1.0)
    if np.isnan(reach):
        low = high = float("nan")
    return Likeness(mean, low, high, float(values.min()), float(values.max()), len(values))

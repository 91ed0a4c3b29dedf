"""Statistics over seeds: intervals, rank agreement, overlap of circuits, redundant heads.

Several seeds find different sufficient sets of heads (paper, section 4.3; docs/method.md#studies).
Where one seed keeps a head, another may keep its double: such heads are open in some seeds, closed
in others, and never closed together.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from chg.config import VERDICT_THRESHOLD, Head

CONFIDENCE = 0.95
RESAMPLES = 2000
LARGEST_GROUP = 3
"""Heads of a redundant group at most."""
MOST_VARYING = 60
"""Heads that are tried together as groups of three; of more, those open in most seeds."""


@dataclass(frozen=True)
class RedundantGroup:
    """Heads of which some suffice: open in some seeds, closed in others, never all closed."""

    heads: tuple[Head, ...]
    open_share: tuple[float, ...]
    """Share of the seeds in which each head is facilitating."""


@dataclass(frozen=True)
class Agreement:
    """Agreement of the seeds on scores and on facilitating heads."""

    spearman: Mapping[str, NDArray[np.float64]]
    """Score -> rank correlation over heads, `[seed, seed]`; NaN where a score has no spread."""
    jaccard: NDArray[np.float64]
    """Overlap of the facilitating sets, `[seed, seed]`; 1 where both are empty."""
    circuits: tuple[tuple[tuple[Head, ...], tuple[int, ...]], ...]
    """Each different facilitating set, with the seeds that found it; most frequent first."""
    redundant: tuple[RedundantGroup, ...]
    """Groups that share no head, pairs first."""


def bootstrap_interval(
    values: NDArray[np.float64], confidence: float = CONFIDENCE
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Interval of the mean over seeds, by percentiles of resampled seeds.

    Args:
        values: `[seed, ...]`.
        confidence: probability that the interval is to hold.

    Returns:
        Lower and upper bounds, in the shape of `values` without its first axis; NaN where there is
        a single seed, or a value is NaN.
    """
    from scipy.stats import bootstrap

    if len(values) < 2:
        nothing = np.full(values.shape[1:], np.nan)
        return nothing, nothing
    interval = bootstrap(
        (values,),
        np.mean,
        axis=0,
        n_resamples=RESAMPLES,
        batch=100,
        confidence_level=confidence,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return np.asarray(interval.low), np.asarray(interval.high)


def rank_correlation(left: NDArray[np.float64], right: NDArray[np.float64]) -> float:
    """Spearman's rank correlation over the entries that are finite in both arrays.

    NaN where fewer than two are, or either array has no spread.
    """
    from scipy.stats import spearmanr

    both = np.isfinite(left) & np.isfinite(right)
    x, y = left[both], right[both]
    if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    return float(spearmanr(x, y).statistic)


def agreement_of(
    scores: Mapping[str, NDArray[np.float64]], facilitating: NDArray[np.bool_]
) -> Agreement:
    """Measure how far seeds agree.

    Args:
        scores: name -> `[seed, layer, head]`; `facilitation` is the gate under removal.
        facilitating: `[seed, layer, head]`, true where a head has that role.
    """
    return Agreement(
        spearman={name: _rank_matrix(values) for name, values in scores.items()},
        jaccard=_jaccard(facilitating),
        circuits=_circuits(facilitating),
        redundant=redundant_groups(scores["facilitation"], facilitating),
    )


def _rank_matrix(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rank correlation of every pair of seeds, `[seed, seed]`, from `[seed, layer, head]`."""
    by_seed = values.reshape(len(values), -1)
    return np.array([[rank_correlation(row, column) for column in by_seed] for row in by_seed])


def _jaccard(sets: NDArray[np.bool_]) -> NDArray[np.float64]:
    by_seed = sets.reshape(len(sets), -1).astype(np.int64)
    shared = by_seed @ by_seed.T
    sizes = by_seed.sum(1)
    either = sizes[:, None] + sizes[None] - shared
    return np.where(either == 0, 1.0, shared / np.maximum(either, 1))


def _circuits(sets: NDArray[np.bool_]) -> tuple[tuple[tuple[Head, ...], tuple[int, ...]], ...]:
    seeds_of: dict[tuple[Head, ...], list[int]] = defaultdict(list)
    for seed in range(len(sets)):
        seeds_of[_heads(sets[seed])].append(seed)
    ordered = sorted(seeds_of.items(), key=lambda entry: (-len(entry[1]), entry[1]))
    return tuple((heads, tuple(seeds)) for heads, seeds in ordered)


def _heads(chosen: NDArray[np.bool_]) -> tuple[Head, ...]:
    return tuple((int(layer), int(head)) for layer, head in np.argwhere(chosen))


def redundant_groups(
    removal: NDArray[np.float64], facilitating: NDArray[np.bool_]
) -> tuple[RedundantGroup, ...]:
    """Find groups of heads of which some suffice: each closed in some seeds, never all together.

    Pairs first, then groups of three; of several that a head could belong to, the one in which
    fewest are open together. A group found in few seeds may be chance.

    Args:
        removal: `[seed, layer, head]`, gates under removal pressure.
        facilitating: `[seed, layer, head]`.
    """
    is_open = np.nan_to_num(removal, nan=1.0) >= VERDICT_THRESHOLD
    varying: NDArray[np.bool_] = np.any(is_open, axis=0) & ~np.all(is_open, axis=0)
    heads = sorted(_heads(varying), key=lambda head: -int(is_open[:, head[0], head[1]].sum()))
    groups: list[RedundantGroup] = []
    for size in range(2, LARGEST_GROUP + 1):
        taken = {head for group in groups for head in group.heads}
        free = [head for head in heads if head not in taken]
        candidates = []
        for group in combinations(free if size == 2 else free[:MOST_VARYING], size):
            opened = np.stack([is_open[:, layer, head] for layer, head in group]).sum(0)
            alone = np.stack([is_open[opened == 1, layer, head] for layer, head in group])
            if (opened > 0).all() and alone.any(1).all():
                candidates.append((int(opened.sum()), group))
        for _, unordered in sorted(candidates):
            group = tuple(sorted(unordered))
            if not taken & set(group):
                taken |= set(group)
                shares = [float(facilitating[:, layer, head].mean()) for layer, head in group]
                groups.append(RedundantGroup(group, tuple(shares)))
    return tuple(groups)

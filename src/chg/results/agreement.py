"""Agreement of seeds: rank correlation of scores, and overlap of the circuits that they find.

Several seeds find different sufficient sets of heads (paper, section 4.3; docs/method.md#studies).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chg.config import Head


@dataclass(frozen=True)
class Agreement:
    """Agreement of the seeds on scores and on facilitating heads."""

    spearman: Mapping[str, NDArray[np.float64]]
    """Score -> rank correlation over heads, `[seed, seed]`; NaN where a score has no spread."""
    jaccard: NDArray[np.float64]
    """Overlap of the facilitating sets, `[seed, seed]`; 1 where both are empty."""
    circuits: tuple[tuple[tuple[Head, ...], tuple[int, ...]], ...]
    """Each different facilitating set, with the seeds that found it; most frequent first."""


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
        spearman={name: rank_matrix(values, values) for name, values in scores.items()},
        jaccard=overlap_matrix(facilitating, facilitating),
        circuits=_circuits(facilitating),
    )


def rank_matrix(left: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rank correlation of every seed on the left with every one on the right, `[left, right]`.

    Args:
        left: a score, `[seed, ...]`.
        right: the same of as many heads.
    """
    rows, columns = (values.reshape(len(values), -1) for values in (left, right))
    return np.array([[rank_correlation(row, column) for column in columns] for row in rows])


def overlap_matrix(left: NDArray[np.bool_], right: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Jaccard overlap of every set on the left with every one on the right, `[left, right]`.

    1 where both are empty. Sets are `[seed, ...]`.
    """
    rows, columns = (sets.reshape(len(sets), -1).astype(np.int64) for sets in (left, right))
    shared = rows @ columns.T
    either = rows.sum(1)[:, None] + columns.sum(1)[None] - shared
    return np.where(either == 0, 1.0, shared / np.maximum(either, 1))


def _circuits(sets: NDArray[np.bool_]) -> tuple[tuple[tuple[Head, ...], tuple[int, ...]], ...]:
    seeds_of: dict[tuple[Head, ...], list[int]] = defaultdict(list)
    for seed in range(len(sets)):
        seeds_of[_heads(sets[seed])].append(seed)
    ordered = sorted(seeds_of.items(), key=lambda entry: (-len(entry[1]), entry[1]))
    return tuple((heads, tuple(seeds)) for heads, seeds in ordered)


def _heads(chosen: NDArray[np.bool_]) -> tuple[Head, ...]:
    return tuple((int(layer), int(head)) for layer, head in np.argwhere(chosen))

"""Redundant pairs: proposed by the seeds' patterns, and said only where ablation proves them.

Several seeds find different sufficient sets of heads (paper, section 4.3): where one seed keeps a
head, another may keep its double. Such patterns arise by chance as well, so they only propose pairs
(docs/evidence.md#redundancy).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chg.config import VERDICT_THRESHOLD, Head
from chg.results.intervals import SIGNIFICANT
from chg.results.schema import Figure

PAIRS_PER_HEAD = 3
MOST_PAIRS = 100
"""Pairs that are tested at most."""
TIMES_ALONE = 3.0
"""Loss of both closed together, as a multiple of the larger loss of one alone, at least."""
LEAST_LOSS = 0.1
"""Nats per token that both closed together cost at least: less is nothing to suffice for."""


@dataclass(frozen=True)
class RedundantPair:
    """Two heads of which either suffices: closing both costs far more than one and the other."""

    heads: tuple[Head, Head]
    alone: tuple[float, float]
    """Score of closing each alone, all others open, nats per token."""
    together: float
    """Score of closing both."""
    excess: float
    """`together` minus the sum of `alone`, mean over rows: negative where either suffices."""
    stderr: float | None
    """Standard error of `excess` over rows; None for a single row."""
    q: Figure
    """Benjamini and Hochberg's `q` of the excess over all pairs that were proposed."""

    @property
    def proven(self) -> bool:
        """True where the joint loss is surely more than the sum, and three times either's."""
        most = max(LEAST_LOSS / TIMES_ALONE, *(-score for score in self.alone))
        return self.q < SIGNIFICANT and self.excess < 0 and -self.together >= TIMES_ALONE * most


def propose_pairs(removal: NDArray[np.float64]) -> tuple[tuple[Head, Head], ...]:
    """List pairs of heads that may replace each other, the most telling first.

    In every seed at least one of the two is open under removal, and each is closed in some seed.

    Args:
        removal: gates under removal, `[seed, layer, head]`; NaN where there is no head.

    Returns:
        At most `MOST_PAIRS` pairs, at most `PAIRS_PER_HEAD` of any head; those whose heads are
        seldom open together come first.
    """
    is_open = np.nan_to_num(removal, nan=1.0) >= VERDICT_THRESHOLD
    heads = np.argwhere(is_open.any(0) & ~is_open.all(0))
    pattern = is_open[:, heads[:, 0], heads[:, 1]].T.astype(np.int64)
    both_open = pattern @ pattern.T
    both_closed = (1 - pattern) @ (1 - pattern).T
    first, second = np.nonzero(np.triu(both_closed == 0, k=1))
    ranked = sorted(zip(both_open[first, second], first, second, strict=True))
    used: Counter[Head] = Counter()
    pairs: list[tuple[Head, Head]] = []
    for _, i, j in ranked:
        pair = _head(heads[i]), _head(heads[j])
        if len(pairs) < MOST_PAIRS and max(used[head] for head in pair) < PAIRS_PER_HEAD:
            pairs.append(pair)
            used.update(pair)
    return tuple(pairs)


def _head(place: NDArray[np.int64]) -> Head:
    return int(place[0]), int(place[1])

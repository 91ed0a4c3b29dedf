"""Deals of seeds: what would be found of two runs that differ in nothing but chance.

If they do not differ, any other way to share all seeds out between two runs of the same sizes is as
likely as the one that was found (a permutation test). Nothing is assumed of how gates are spread,
which near 0 and 1 is far from normal.
"""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

MOST_DEALS = 500
"""Ways to deal the seeds that are tried; of more, so many are drawn."""


def other_deals(left: int, right: int) -> NDArray[np.bool_]:
    """Ways to deal the seeds of two runs to two of the same sizes, but for the one that was found.

    Runs of one size that exchange all their seeds are the same two runs, and count once.

    Args:
        left: seeds of one run.
        right: seeds of the other.

    Returns:
        `[deal, seed]`, true for seeds that are dealt to the left; those of the left run come first.
    """
    total = left + right
    found = np.arange(total) < left
    if math.comb(total, left) <= 2 * MOST_DEALS:
        chosen = [list(one) for one in combinations(range(total), left)]
        deals = np.zeros((len(chosen), total), dtype=bool)
        for deal, seeds in zip(deals, chosen, strict=True):
            deal[seeds] = True
    else:
        random = np.random.default_rng(0)
        deals = random.permuted(np.tile(found, (MOST_DEALS, 1)), axis=1)
    if left == right:
        deals = deals ^ ~deals[:, :1]  # the first seed is on the left
    deals = np.unique(deals, axis=0)
    return np.asarray(deals[(deals != found).any(axis=1)])

"""Facilitating sets and gates of seeds that are drawn, so that the truth of runs is known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

SET_HEADS = 60
Random = np.random.Generator
Sets = NDArray[np.bool_]
Shares = NDArray[np.float64]


def chances(shift: int) -> Shares:
    """Chance of every head to facilitate: a quarter of them nearly always, the others seldom."""
    return np.roll(np.where(np.arange(SET_HEADS) < SET_HEADS // 4, 0.85, 0.05), shift)


def apart(random: Random, seeds: int, shift: int) -> Sets:
    """Sets in which each head is drawn by itself."""
    return np.asarray(random.random((seeds, SET_HEADS)) < chances(shift))


def sizes(random: Random, seeds: int, shift: int) -> Sets:
    """Sets that are larger or smaller as a whole."""
    logits = np.log(chances(shift) / (1 - chances(shift))) + random.normal(0, 0.5, (seeds, 1))
    return np.asarray(random.random((seeds, SET_HEADS)) < 1 / (1 + np.exp(-logits)))


def circuits(random: Random, seeds: int, shift: int) -> Sets:
    """Sets of which each is one of two circuits."""
    first = (random.random(seeds) < 0.5)[:, None]
    return np.where(first, apart(random, seeds, shift), apart(random, seeds, shift + 20))


DRAWS: dict[str, Callable[[Random, int, int], Sets]] = {
    "heads by themselves": apart,
    "larger or smaller as a whole": sizes,
    "one of two circuits": circuits,
}
"""Kind of facilitating sets -> draws those of so many seeds, at heads that are shifted by a number.
"""


def gates_near_ends(
    random: Random, open_share: NDArray[np.float64], seeds: int, noise: float = 1.0
) -> NDArray[np.float64]:
    """Gates that are open in some seeds and closed in others, `[seed, ...]`, cut as fits cut them.

    Args:
        random: generator.
        open_share: chance of every gate to be open.
        seeds: number of seeds.
        noise: standard deviation of the logits around either end.
    """
    is_open = random.random((seeds, *open_share.shape)) < open_share
    logits = np.where(is_open, 4.0, -4.0) + random.normal(0, noise, is_open.shape)
    return np.asarray(1 / (1 + np.exp(-np.clip(logits, -4, 4))))


def few_unsure(random: Random, heads: int) -> Shares:
    """Shares of open seeds: of one head in seven anything, of all others none or all."""
    unsure = random.random(heads) < 0.15
    return np.where(unsure, random.random(heads), random.random(heads) < 0.25)


SHARES: dict[str, Callable[[Random, int], Shares]] = {
    "one head in seven open in some seeds": few_unsure,
    "every head open in half of the seeds": lambda _, heads: np.full(heads, 0.5),
    "shares from beta (0.3, 0.3)": lambda random, heads: random.beta(0.3, 0.3, heads),
}
"""Kind of gates -> draws the share of the seeds in which each head is open."""

"""Statistics over seeds: intervals, rank agreement, overlap of circuits, redundant heads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Head = tuple[int, int]


@dataclass(frozen=True)
class RedundantGroup:
    """Heads of which some suffice: open in some seeds, closed in others, never all closed."""

    heads: tuple[Head, ...]
    open_share: tuple[float, ...]
    """Share of the seeds in which each is facilitating."""


@dataclass(frozen=True)
class Agreement:
    """How far the seeds agree."""

    spearman: Mapping[str, NDArray[np.float64]]
    """Score -> `[seed, seed]`, rank correlation over heads; NaN where a score has no spread."""
    jaccard: NDArray[np.float64]
    """`[seed, seed]`: overlap of the facilitating sets; 1 where both are empty."""
    circuits: tuple[tuple[tuple[Head, ...], tuple[int, ...]], ...]
    """Each different facilitating set, with the seeds that found it; most frequent first."""
    redundant: tuple[RedundantGroup, ...]

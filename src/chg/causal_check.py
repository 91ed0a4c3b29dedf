"""The causal check of a fit (paper, section 4.1 and figure 2; METHOD.md, Causal check of a fit)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Head = tuple[int, int]


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
    holds: bool
    """Whether the difference has the expected sign where the role's heads are."""
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

"""Heads known by their attention patterns: do gates find them, and does ablation?

A group of heads is those with a pattern's score above `KNOWN_ABOVE`. How well another score tells
the group from all other heads is its AUROC (docs/evidence.md#known-heads).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from chg.config import Head
from chg.results.intervals import auroc_interval
from chg.results.patterns import PATTERN_NAMES, PATTERNS
from chg.results.roles import in_family

if TYPE_CHECKING:
    import pandas as pd

KNOWN_ABOVE = 0.4
"""Score of a pattern above which a head is one of the group."""
FEWEST = 3
"""Heads of a group, and others, of which something is said."""


@dataclass(frozen=True)
class Separation:
    """Area under the ROC curve of a score that tells a group from the others, 95 % interval."""

    auroc: float
    """Chance that a head of the group scores above another; 0.5 says nothing."""
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.auroc:.2f} (95 % interval {self.low:.2f} to {self.high:.2f})"


@dataclass(frozen=True)
class KnownHeads:
    """Group of heads with the same attention pattern, beside all other heads of a study."""

    pattern: str
    """Score that makes the group, one of `PATTERNS`."""
    heads: tuple[Head, ...]
    """The group, highest score first."""
    facilitating: int
    """Heads of the group that are facilitating, in full or in part."""
    others: int
    """Heads outside of it."""
    others_facilitating: int
    facilitation: Separation
    """Separation by facilitation, mean over seeds."""
    ablation: Separation
    """Separation by what ablating a head alone costs."""

    @property
    def p_value(self) -> float:
        """Chance that as many of a group drawn blindly facilitate (Fisher's exact test)."""
        return more_than_drawn(
            (self.facilitating, len(self.heads)), (self.others_facilitating, self.others)
        )

    @property
    def sentence(self) -> str:
        """Say how many facilitate, and how well either score finds the group."""
        return (
            f"Heads with {PATTERN_NAMES[self.pattern]} attention above {KNOWN_ABOVE}: "
            f"{self.facilitating} of {len(self.heads)} facilitate, of the other heads "
            f"{self.others_facilitating} of {self.others} (p = {self.p_value:.2g}, Fisher's exact "
            "test); AUROC of facilitation "
            f"{self.facilitation}, of individual ablation {self.ablation}."
        )


def known_heads(table: pd.DataFrame) -> tuple[KnownHeads, ...]:
    """Find the groups that a study's table of heads has, of `FEWEST` heads or more each.

    Empty where patterns were not measured.
    """
    groups = []
    for pattern in PATTERNS:
        if pattern not in table:
            continue
        heads = table[table[pattern].notna()].sort_values(pattern, ascending=False)
        known = heads[pattern].to_numpy() > KNOWN_ABOVE
        if min(known.sum(), (~known).sum()) < FEWEST:
            continue
        places = heads.loc[known, ["layer", "head"]].to_numpy().tolist()
        facilitates = in_family(heads["role"].to_numpy(str), "facilitation")
        groups.append(
            KnownHeads(
                pattern=pattern,
                heads=tuple((layer, head) for layer, head in places),
                facilitating=int(facilitates[known].sum()),
                others=int((~known).sum()),
                others_facilitating=int(facilitates[~known].sum()),
                facilitation=separation(heads["facilitation_mean"].to_numpy(), known),
                ablation=separation(-heads["ablation_score"].to_numpy(), known),
            )
        )
    return tuple(groups)


def more_than_drawn(group: tuple[int, int], others: tuple[int, int]) -> float:
    """Compute the p value of more in a group than in the others, by Fisher's exact test.

    Args:
        group: number of its heads that facilitate, and of all of them.
        others: the same of the others.
    """
    from scipy.stats import hypergeom

    facilitating, heads = (sum(both) for both in zip(group, others, strict=True))
    return float(hypergeom.sf(group[0] - 1, heads, facilitating, group[1]))


def separation(scores: NDArray[np.float64], known: NDArray[np.bool_]) -> Separation:
    """Measure how well a score tells known heads from others, both one-dimensional."""
    from scipy.stats import mannwhitneyu

    inside, outside = scores[known], scores[~known]
    statistic = mannwhitneyu(inside, outside, method="asymptotic").statistic
    auroc = float(statistic) / (len(inside) * len(outside))
    return Separation(auroc, *auroc_interval(auroc, len(inside), len(outside)))

"""Runs of a comparison and pairs of them, and the columns that they have in its table of heads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chg.config import AblationKind, Metric
from chg.results.likeness import Likeness
from chg.results.roles import UNDECIDED
from chg.results.schema import Count, Figure

RUN_COLUMNS = {
    "role": str,
    "seeds_in_role": int,
    **{
        f"{score}_{end}": float
        for score in ("facilitation", "interference")
        for end in ("mean", "min", "max")
    },
    "ablation_score": float,
    "ablation_stderr": float,
}
"""Columns of every run in the table of heads, with its name behind them."""
PAIR_COLUMNS = {
    "facilitation_change": float,
    "facilitation_q": float,
    "interference_change": float,
    "interference_q": float,
    "differs": bool,
    "changed": bool,
}
"""Columns of every pair of runs; a change is the second run less the first."""
SOME_PAIR_COLUMNS = {"ablation_change": float, "ablation_q": float}
"""Columns of pairs whose ablation can be compared."""


@dataclass(frozen=True)
class ComparedRun:
    """One of the runs, and the likeness of its own seeds."""

    name: str
    """Short name, different from all others'."""
    folder: str | None
    title: str
    seeds: tuple[int, ...]
    model: str
    weights: str | None
    """Hash of the weights; None in old studies."""
    adapters: tuple[str, ...]
    quantization: str
    data: str
    held_out_rows: Count
    """Rows that ablation scores are means over; 0 if unknown."""
    held_out_mark: str | None
    """Hash of these rows."""
    metric: Metric
    ablation: AblationKind
    recipe: str
    updates: str
    """Updates of G0, and of G+ and G-, at most."""
    doubts: tuple[str, ...]
    """Sentences on what takes the grounds from all that is said of it."""
    overlap: Likeness
    """Overlap of the facilitating heads of two of its seeds."""
    correlation: Likeness
    """Rank correlation of facilitation between two of its seeds."""

    @property
    def weights_told(self) -> str:
        """Name and weights of the model in words."""
        adapted = (f"adapter {name}" for name in self.adapters)
        kind = [] if self.quantization == "none" else [self.quantization]
        marked = [] if self.weights is None else [f"weights {self.weights}"]
        return ", ".join([self.model, *adapted, *kind, *marked])


@dataclass(frozen=True)
class RunPair:
    """Two of the runs."""

    left: str
    right: str
    """Names of the runs."""
    overlap: Likeness
    """Overlap of the facilitating heads of a seed of one and a seed of the other."""
    correlation: Likeness
    overlap_p: Figure
    """P value of seeds of two runs sharing less than seeds of one do; NaN for a single seed."""
    correlation_p: Figure
    passing: Count
    """Heads that pass the test of `differs`."""
    by_chance: Figure
    """Heads that pass it after another deal of the seeds, mean; NaN with too few seeds."""
    deals: Count
    """Other ways to deal the seeds that were tried."""

    @property
    def said_of_heads(self) -> bool:
        """True where there are seeds enough to speak of single heads."""
        return bool(np.isfinite(self.by_chance))

    def column(self, name: str) -> str:
        """Name of one of its columns in the table of heads."""
        return f"{name}_{self.left}_to_{self.right}"


def role_changes(left: Sequence[str], right: Sequence[str]) -> NDArray[np.bool_]:
    """Tell which heads have another role, where both runs decide on one."""
    one, other = np.asarray(left, dtype=str), np.asarray(right, dtype=str)
    return np.asarray((one != other) & (one != UNDECIDED) & (other != UNDECIDED))

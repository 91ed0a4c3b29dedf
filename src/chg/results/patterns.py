"""Attention patterns: where every head looks on repeated random tokens, in three scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chg.config import UNIT_NAMES, Unit, head_label

PATTERNS = ("previous_token", "duplicate_token", "induction")
"""Names of the scores; columns of `heads.csv`."""
PATTERN_NAMES = {name: name.replace("_", "-") for name in PATTERNS}
"""Score -> its name in a sentence."""


@dataclass(frozen=True)
class AttentionPatterns:
    """Mean attention of every head to three places, on random tokens that are repeated once.

    Scores are shares of a token's attention, in [0, 1] (docs/method.md#attention-patterns); NaN
    where there is no head, and in layers whose attention cannot be read.
    """

    model: str
    previous_token: NDArray[np.float64]
    """Attention to the token before, `[layer, head]`."""
    duplicate_token: NDArray[np.float64]
    """Attention of a repeated token to where it stood first, `[layer, head]`."""
    induction: NDArray[np.float64]
    """Attention of a repeated token to the token after that one, `[layer, head]`."""
    rows: int
    """Rows that the means are over."""
    length: int
    """Random tokens of a row; each row has them twice."""
    unit: Unit = "head"
    """Unit of a column: a query head, or a `kv_group`, which has its strongest head's scores. The
    column of MLP blocks has none."""

    def __repr__(self) -> str:
        layers, heads = self.induction.shape
        units = UNIT_NAMES[self.unit][1]
        return (
            f"<AttentionPatterns of {self.model}, {layers} layers x {heads} {units}, on "
            f"{self.rows} rows of {self.length} random tokens twice; "
            f"highest {', '.join(map(self._highest, PATTERNS))}>"
        )

    @property
    def by_name(self) -> Mapping[str, NDArray[np.float64]]:
        """The scores by their names, each `[layer, head]`."""
        return {name: getattr(self, name) for name in PATTERNS}

    def _highest(self, name: str) -> str:
        scores = self.by_name[name]
        layer, head = np.unravel_index(np.nanargmax(scores), scores.shape)
        label = head_label(int(layer), int(head), self.unit, scores.shape[1])
        return f"{PATTERN_NAMES[name]} {label} {scores[layer, head]:.2f}"

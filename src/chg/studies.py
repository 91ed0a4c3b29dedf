"""A study: what many fits, an ablation and a causal check say about every head together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from chg.causal_check import CausalCurve, Correlation
from chg.statistics import Agreement

if TYPE_CHECKING:
    import pandas as pd

Stage = Literal["initial", "retention", "removal"]
STAGES: tuple[Stage, ...] = ("initial", "retention", "removal")
"""G0, and G+ and G- from it."""


@dataclass(frozen=True)
class LambdaPath:
    """Roles under several strengths of regularisation."""

    lambdas: tuple[float, ...]
    """|lambda|, rising."""
    roles: NDArray[Any]
    """`[lambda, layer, head]`: the role over all seeds at that strength."""
    scores: Mapping[str, NDArray[np.float64]]
    """`facilitation`, `irrelevance`, `interference` -> `[lambda, layer, head]`, mean over seeds."""


@dataclass(frozen=True)
class Study:
    """Everything a study found; `Study.load(folder)` reads it back."""

    manifest: Mapping[str, Any]
    """What was run: model, data, configuration, versions, times, figures. Plain JSON."""
    seeds: tuple[int, ...]
    logits: Mapping[Stage, NDArray[np.float32]]
    """`[seed, layer, head]` per stage; NaN where there is no head."""
    roles: NDArray[Any]
    """`[seed, layer, head]`: the role in each seed alone; empty where there is no head."""
    heads: pd.DataFrame
    """One row per head, as `heads.csv`."""
    metrics: pd.DataFrame
    """One row per update, fit and stage: `stage, lambda_reg, seed, step, loss, open, closed,
    middle, held_out_nll` (the last only where it was measured)."""
    checks: tuple[CausalCurve, ...]
    correlations: tuple[Correlation, ...]
    agreement: Agreement
    path: LambdaPath | None = None

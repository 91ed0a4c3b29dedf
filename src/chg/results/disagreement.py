"""Disagreement of roles with ablation: each is evidence of its own, and neither is bent.

With all other heads open (G = 1) a disagreement may come from redundancy or interaction: another
head does the same. From G+ of the seed that gave the role it would be a contradiction
(docs/evidence.md#roles).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from chg.results.intervals import SIGNIFICANT, p_values, q_values
from chg.results.roles import in_family
from chg.results.study_scores import Effects

LARGEST_NOTHING = 0.1
"""Nats per token above which no effect counts as nothing, whatever the tolerance."""


def disagreements(
    overall: NDArray[Any], first_seed: NDArray[Any], effects: Effects, tolerance: float | None
) -> NDArray[Any]:
    """Say for every head where ablation contradicts its role.

    Args:
        overall: role over all seeds, compared with ablation at G = 1, `[layer, head]`.
        first_seed: role in the first seed, compared with ablation at its G+, `[layer, head]`.
        effects: the measured effects.
        tolerance: nats per token that count as about zero; `LARGEST_NOTHING` if None or larger.

    Returns:
        `[layer, head]`: empty where they agree, else `G = 1`, `G+`, or `G = 1 and G+`.
    """
    nothing = nothing_below(tolerance)
    at_one = _contradicts(overall, effects.ablation, effects.stderr, effects.sequences, nothing)
    at_plus = np.zeros(overall.shape, dtype=bool)
    if effects.at_retention is not None and effects.at_retention_stderr is not None:
        scores, errors = effects.at_retention, effects.at_retention_stderr
        rows = effects.sequences_at_retention
        at_plus = _contradicts(first_seed, scores, errors, rows, nothing)
    return np.select([at_one & at_plus, at_one, at_plus], ["G = 1 and G+", "G = 1", "G+"], "")


def nothing_below(tolerance: float | None) -> float:
    """Nats per token up to which the effect of one head counts as nothing."""
    return min(tolerance or LARGEST_NOTHING, LARGEST_NOTHING)


def _contradicts(
    roles: NDArray[Any],
    scores: NDArray[np.float64],
    stderrs: NDArray[np.float64],
    sequences: int,
    nothing: float,
) -> NDArray[np.bool_]:
    """Tell where a score is significantly of the other sign, or not nothing where it should be."""
    q = q_values(p_values(scores, stderrs, sequences))
    contradicting = (
        (in_family(roles, "facilitation") & (scores > 0))
        | (in_family(roles, "interference") & (scores < 0))
        | (in_family(roles, "irrelevance") & (np.abs(scores) > nothing))
    )
    return np.asarray(contradicting & (q < SIGNIFICANT))

"""The causal check of a fit (paper, section 4.1 and figure 2; METHOD.md, Causal check of a fit).

1. From a seed's retention gates (G+), the first heads in order of one of its scores are set to 1,
   and to 0; the rest stays.
2. The difference of the metric between the two must be negative for facilitation, about zero for
   irrelevance, and positive for interference until the heads of that role run out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from chg.ablation.scores import score_difference
from chg.config import Head
from chg.engine import Evaluate, SequenceScores
from chg.results import ROLE_OF, SCORES, CausalCurve

EXPECTED = dict(zip(SCORES, ("negative", "zero", "positive"), strict=True))
STANDARD_ERRORS = 1.96
"""Half the width of a 95 % interval."""


def causal_check(
    evaluate: Evaluate,
    retention: Float[Tensor, "seed layer head"],
    scores: Mapping[str, NDArray[np.float64]],
    roles: NDArray[Any],
    *,
    points: int,
    tolerance: float,
) -> tuple[CausalCurve, ...]:
    """Toggle heads in order of every score, and read the curves.

    Args:
        evaluate: scores held-out rows under gate matrices.
        retention: G+ of the seeds that are checked, NaN where there is no head.
        scores: name -> `[seed, layer, head]`.
        roles: `[seed, layer, head]`.
        points: steps of a curve, about.
        tolerance: what counts as about zero, as a share of the largest difference of any curve.
    """
    measured = [
        _measure(evaluate, name, retention, scores[name], roles == ROLE_OF[name], points)
        for name in SCORES
    ]
    span = max(float(np.abs(one.difference).max()) for one in measured)
    return tuple(_read(one, tolerance * span) for one in measured)


@dataclass(frozen=True)
class _Measured:
    score: str
    counts: NDArray[np.int64]
    difference: NDArray[np.float64]
    in_role: float
    orders: list[list[Head]]
    judged_at: int
    """The number of heads nearest to that."""
    at_role: tuple[float, float]
    """Difference there, mean over seeds, and its standard error."""


def _measure(
    evaluate: Evaluate,
    name: str,
    retention: Tensor,
    scores: NDArray[np.float64],
    in_role: NDArray[np.bool_],
    points: int,
) -> _Measured:
    heads = int(np.isfinite(scores[0]).sum())
    mean_in_role = float(in_role.reshape(len(in_role), -1).sum(1).mean())
    wanted = min(heads, max(1, round(mean_in_role)))
    counts = _counts(heads, points, wanted)
    orders = [_order(one)[: counts[-1]] for one in scores]
    matrices = []
    for gates, order in zip(retention, orders, strict=True):
        for count in counts:
            layers, columns = zip(*order[:count], strict=True)
            for value in (1.0, 0.0):
                matrix = gates.clone()
                matrix[list(layers), list(columns)] = value
                matrices.append(matrix)
    found = evaluate(f"check_{name}", matrices)
    opened, closed = found[0::2], found[1::2]
    difference = np.array(
        [score_difference(after, before)[0] for after, before in zip(closed, opened, strict=True)]
    ).reshape(len(orders), len(counts))
    place = counts.tolist().index(wanted)
    own = slice(place, None, len(counts))
    value, error = score_difference(_mean(closed[own]), _mean(opened[own]))
    return _Measured(name, counts, difference, mean_in_role, orders, wanted, (value, error or 0.0))


def _counts(heads: int, points: int, wanted: int) -> NDArray[np.int64]:
    """Steps from 1 to all heads, closer together at first, with the one that is judged by."""
    ladder = np.unique(np.geomspace(1, heads, min(points, heads)).round().astype(np.int64))
    return np.union1d(ladder, [wanted])


def _order(scores: NDArray[np.float64]) -> list[Head]:
    """Heads by falling score."""
    flat = np.where(np.isfinite(scores), -scores, np.inf).ravel()
    places = np.argsort(flat, kind="stable")[: int(np.isfinite(scores).sum())]
    return [(int(i) // scores.shape[1], int(i) % scores.shape[1]) for i in places]


def _mean(scores: list[SequenceScores]) -> SequenceScores:
    """Of the same rows under several gate matrices."""
    sums = np.mean([one.logprob_sums for one in scores], axis=0)
    return SequenceScores(sums, scores[0].correct, scores[0].counts)


def _read(found: _Measured, near_zero: float) -> CausalCurve:
    """The curve with its verdict, at the number of heads that have the role."""
    expected, role = EXPECTED[found.score], ROLE_OF[found.score]
    value, error = found.at_role
    low, high = value - STANDARD_ERRORS * error, value + STANDARD_ERRORS * error
    holds: bool | None = {
        "negative": bool(high < 0),
        "positive": bool(low > 0),
        "zero": bool(max(abs(low), abs(high)) <= near_zero),
    }[expected]
    numbers = f"{value:+.3f} nats per token (95 % interval {low:+.3f} to {high:+.3f})"
    wanted = "about zero" if expected == "zero" else expected
    if found.in_role == 0:
        holds, verdict = None, f"no head is {role} in any seed that was checked"
    else:
        verdict = (
            f"the first {found.judged_at} heads by {found.score}, as many as are {role}, at 0 in "
            f"place of 1: {numbers}; "
            f"{wanted} was expected, and {'holds' if holds else 'does not hold'}"
        )
        if expected == "zero":
            verdict += f" (within {near_zero:.3f} counts as zero)"
    return CausalCurve(
        score=found.score,
        expected=expected,
        counts=found.counts,
        difference=found.difference,
        in_role=found.in_role,
        heads=tuple(tuple(order) for order in found.orders),
        holds=holds,
        verdict=verdict,
    )

"""Causal check of fits (paper, section 4.1 and figure 2; docs/method.md#studies).

1. From a seed's retention gates (G+), the first heads in order of one of its scores are set to 1,
   and to 0; the rest stays.
2. The difference of the metric between the two must be negative for facilitation, about zero for
   irrelevance, and positive for interference until the heads of that role run out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from chg.ablation.scores import score_difference
from chg.config import Head
from chg.engine import Evaluate, SequenceScores
from chg.results import ROLE_OF, SCORES, CausalCurve, StudyScores

EXPECTED = dict(zip(SCORES, ("negative", "zero", "positive"), strict=True))
STANDARD_ERRORS = 1.96
"""Half the width of a 95 % interval."""


def causal_check(
    evaluate: Evaluate, scores: StudyScores, *, seeds: int, points: int, tolerance: float
) -> tuple[CausalCurve, ...]:
    """Toggle heads in order of every score, and read the curves.

    Args:
        evaluate: scores held-out rows under gate matrices.
        scores: G+, scores and roles of a study.
        seeds: seeds that are checked, from the first on.
        points: steps of a curve, about.
        tolerance: difference that counts as about zero, as a share of the largest of any curve.
    """
    retention = torch.sigmoid(scores.retention[:seeds])
    measured = []
    for name in SCORES:
        in_role = scores.roles[:seeds] == ROLE_OF[name]
        order = _Order(name, scores.by_name[name][:seeds], in_role)
        measured.append(_measure(evaluate, retention, order, points))
    span = max(float(np.abs(curve.difference).max()) for curve in measured)
    return tuple(_read(curve, tolerance * span) for curve in measured)


@dataclass(frozen=True)
class _Order:
    """Order in which heads are toggled: by one score, and with the heads that have its role."""

    score: str
    values: NDArray[np.float64]
    """`[seed, layer, head]`; NaN where there is no head."""
    in_role: NDArray[np.bool_]

    @property
    def num_heads(self) -> int:
        return int(np.isfinite(self.values[0]).sum())

    @property
    def mean_in_role(self) -> float:
        """Heads that have the role, mean over seeds."""
        return float(self.in_role.reshape(len(self.in_role), -1).sum(1).mean())

    def of_seeds(self, count: int) -> list[list[Head]]:
        """List the first heads of every seed by falling score."""
        return [_by_falling_score(values)[:count] for values in self.values]


@dataclass(frozen=True)
class _Measured:
    order: _Order
    counts: NDArray[np.int64]
    difference: NDArray[np.float64]
    heads: list[list[Head]]
    judged_at: int
    """Number of heads that have the role, or the nearest to it."""
    at_role: tuple[float, float]
    """Difference there, mean over seeds, and its standard error."""


def _measure(
    evaluate: Evaluate, retention: Float[Tensor, "seed layer head"], order: _Order, points: int
) -> _Measured:
    """Score held-out rows with the first heads of an order at 1, and at 0."""
    wanted = min(order.num_heads, max(1, round(order.mean_in_role)))
    counts = _counts(order.num_heads, points, wanted)
    orders = order.of_seeds(int(counts[-1]))
    matrices = []
    for gates, heads in zip(retention, orders, strict=True):
        for count in counts:
            layers, columns = zip(*heads[:count], strict=True)
            for value in (1.0, 0.0):
                matrix = gates.clone()
                matrix[list(layers), list(columns)] = value
                matrices.append(matrix)
    scores = evaluate(f"check_{order.score}", matrices)
    opened, closed = scores[0::2], scores[1::2]
    difference = np.array(
        [score_difference(after, before)[0] for after, before in zip(closed, opened, strict=True)]
    ).reshape(len(orders), len(counts))
    judged = slice(counts.tolist().index(wanted), None, len(counts))
    value, error = score_difference(_mean(closed[judged]), _mean(opened[judged]))
    at_role = (value, error or 0.0)
    return _Measured(order, counts, difference, orders, wanted, at_role)


def _counts(heads: int, points: int, wanted: int) -> NDArray[np.int64]:
    """Choose steps from 1 to all heads, closer together at first, with the one that is judged."""
    ladder = np.unique(np.geomspace(1, heads, min(points, heads)).round().astype(np.int64))
    return np.union1d(ladder, [wanted])


def _by_falling_score(scores: NDArray[np.float64]) -> list[Head]:
    """List heads by falling score."""
    flat = np.where(np.isfinite(scores), -scores, np.inf).ravel()
    places = np.argsort(flat, kind="stable")[: int(np.isfinite(scores).sum())]
    return [(int(i) // scores.shape[1], int(i) % scores.shape[1]) for i in places]


def _mean(scores: list[SequenceScores]) -> SequenceScores:
    """Average the scores of the same rows under several gate matrices."""
    sums = np.mean([score.logprob_sums for score in scores], axis=0)
    return SequenceScores(sums, scores[0].correct, scores[0].counts)


def _read(curve: _Measured, near_zero: float) -> CausalCurve:
    """Judge a curve at the number of heads that have the role."""
    score = curve.order.score
    expected, role = EXPECTED[score], ROLE_OF[score]
    value, error = curve.at_role
    low, high = value - STANDARD_ERRORS * error, value + STANDARD_ERRORS * error
    holds: bool | None = {
        "negative": bool(high < 0),
        "positive": bool(low > 0),
        "zero": bool(max(abs(low), abs(high)) <= near_zero),
    }[expected]
    numbers = f"{value:+.3f} nats per token (95 % interval {low:+.3f} to {high:+.3f})"
    wanted = "about zero" if expected == "zero" else expected
    if curve.order.mean_in_role == 0:
        holds, verdict = None, f"no head is {role} in any seed that was checked"
    else:
        verdict = (
            f"the first {curve.judged_at} heads by {score}, as many as are {role}, at 0 in "
            f"place of 1: {numbers}; "
            f"{wanted} was expected, and {'holds' if holds else 'does not hold'}"
        )
        if expected == "zero":
            verdict += f" (within {near_zero:.3f} counts as zero)"
    return CausalCurve(
        score=score,
        expected=expected,
        counts=curve.counts,
        difference=curve.difference,
        in_role=curve.order.mean_in_role,
        heads=tuple(tuple(heads) for heads in curve.heads),
        holds=holds,
        verdict=verdict,
    )

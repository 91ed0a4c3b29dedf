"""Causal check of fits (paper, section 4.1 and figure 2; docs/method.md#studies).

1. From a seed's retention gates (G+), the first heads in order of one of its scores are set to 1,
   and to 0; the rest stays.
2. The difference of the metric between the two must be negative for facilitation, about zero for
   irrelevance, and positive for interference until the heads of that role run out.
3. *About zero* is tested as equivalence: it holds if the whole interval is within the tolerance,
   fails if all of it is outside, and otherwise the rows are too few to say.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from chg.ablation.scores import score_difference
from chg.ablation.together import interval
from chg.config import Head
from chg.engine import Evaluate, SequenceScores
from chg.results import ROLE_OF, SCORES, CausalCurve, StudyScores, in_family

EXPECTED = dict(zip(SCORES, ("negative", "zero", "positive"), strict=True))
FEWEST_POINTS = 3
"""Steps of a curve at least: one head, as many as have the role, all."""
ENOUGH_POINTS = 5
"""Steps of a curve that go before another seed."""
SHARE_OF_ABLATION = 0.5
"""Share of what ablating every head costs that a check may cost."""


def causal_check(
    evaluate: Evaluate,
    scores: StudyScores,
    *,
    seeds: int,
    points: int,
    tolerance: float | None,
) -> tuple[CausalCurve, ...]:
    """Toggle heads in order of every score, and read the curves.

    Args:
        evaluate: scores held-out rows under gate matrices.
        scores: G+, scores and roles of a study.
        seeds: seeds that are checked, from the first on; fewer where the check would cost more
            than half of ablating every head.
        points: steps of a curve at most; fewer for the same reason.
        tolerance: nats per token within which a difference counts as about zero; None where nothing
            sets it.
    """
    retention = torch.sigmoid(scores.retention[:seeds])
    seeds, points = affordable(~retention[0].isnan(), len(retention), points)
    curves = []
    for name in SCORES:
        in_role = in_family(scores.roles[:seeds], name)
        order = _Order(name, scores.by_name[name][:seeds], in_role)
        curves.append(_read(_measure(evaluate, retention[:seeds], order, points), tolerance))
    return tuple(curves)


def affordable(exists: Bool[Tensor, "layer head"], seeds: int, points: int) -> tuple[int, int]:
    """Lower the seeds and the points of a check to half of what ablating every head costs.

    Ablating a head of layer `l` runs the layers from `l` on; a step of a curve runs all of them,
    twice.

    Returns:
        The seeds and the points; at least one seed and `FEWEST_POINTS`.
    """
    layers = len(exists)
    ablation = float((exists.sum(1) * torch.arange(layers, 0, -1)).sum()) / layers
    passes = SHARE_OF_ABLATION * ablation
    per_point = 2 * len(SCORES)
    seeds = max(1, min(seeds, int(passes / (per_point * min(points, ENOUGH_POINTS)))))
    return seeds, max(FEWEST_POINTS, min(points, int(passes / (per_point * seeds))))


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
    value: float
    """Difference there, mean over seeds and rows."""
    bounds: tuple[float | None, float | None]
    """Its 95 % interval over rows."""


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
    after, before = _mean(closed[judged]), _mean(opened[judged])
    value, _ = score_difference(after, before)
    return _Measured(order, counts, difference, orders, wanted, value, interval(after, before))


def _counts(heads: int, points: int, wanted: int) -> NDArray[np.int64]:
    """Choose steps from 1 to all heads, closer together at first, with the one that is judged."""
    ladder = np.unique(np.geomspace(1, heads, min(points, heads)).round().astype(np.int64))
    if wanted in ladder:
        return ladder
    inner = ladder[1:-1]  # the nearest step gives its place, so that a curve costs no more
    if len(inner):
        ladder = np.delete(ladder, 1 + int(np.abs(np.log(inner / wanted)).argmin()))
    return np.union1d(ladder, [wanted])


def _by_falling_score(scores: NDArray[np.float64]) -> list[Head]:
    """List heads by falling score."""
    flat = np.where(np.isfinite(scores), -scores, np.inf).ravel()
    places = np.argsort(flat, kind="stable")[: int(np.isfinite(scores).sum())]
    return [(int(i) // scores.shape[1], int(i) % scores.shape[1]) for i in places]


def _mean(scores: list[SequenceScores]) -> SequenceScores:
    """Average the scores of the same rows under several gate matrices."""
    return replace(scores[0], metric_sums=np.mean([score.sums for score in scores], axis=0))


def _read(curve: _Measured, tolerance: float | None) -> CausalCurve:
    """Judge a curve at the number of heads that have the role."""
    score = curve.order.score
    expected, role = EXPECTED[score], ROLE_OF[score]
    if curve.order.mean_in_role == 0:
        holds, verdict = None, f"no head is {role} in any seed that was checked"
    else:
        holds, verdict = _verdict(curve, expected, tolerance)
        verdict = (
            f"the first {curve.judged_at} heads by {score}, as many as are {role} in full or in "
            f"part, at 0 in place of 1: {verdict}"
        )
        if score == "irrelevance":
            verdict = verdict.replace(" in full or in part", "")
    low, high = curve.bounds
    return CausalCurve(
        score=score,
        expected=expected,
        counts=curve.counts,
        difference=curve.difference,
        in_role=curve.order.mean_in_role,
        heads=tuple(tuple(heads) for heads in curve.heads),
        holds=holds,
        verdict=verdict,
        judged_at=curve.judged_at,
        value=curve.value,
        low=low,
        high=high,
        tolerance=tolerance if expected == "zero" else None,
    )


def _verdict(curve: _Measured, expected: str, tolerance: float | None) -> tuple[bool | None, str]:
    """Compare a difference and its interval with the sign that is expected."""
    value, (low, high) = curve.value, curve.bounds
    wanted = "about zero" if expected == "zero" else expected
    if low is None or high is None:
        return None, f"{value:+.3f} nats per token; one row is too few to say"
    numbers = f"{value:+.3f} nats per token (95 % interval {low:+.3f} to {high:+.3f})"
    if expected == "zero" and tolerance is None:
        return None, f"{numbers}; no facilitating heads set a tolerance (--check_tolerance does)"
    edge = tolerance or 0.0
    inside, outside = {
        "negative": (high < 0, low > 0),
        "positive": (low > 0, high < 0),
        "zero": (-edge <= low and high <= edge, low > edge or high < -edge),
    }[expected]
    holds = True if inside else False if outside else None
    words = {True: "holds", False: "does not hold", None: "the rows are too few to say"}[holds]
    if expected == "zero":
        words += f" (within {edge:.3f} counts as zero)"
    return holds, f"{numbers}; {wanted} was expected: {words}"

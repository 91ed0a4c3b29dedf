"""Scores of ablation: the change of the metric when heads are closed, with its standard error.

`score = metric(ablated) - metric(baseline)` in nats per token, metric = mean log-probability of
target tokens. Standard errors treat sequences as the independent units and the metric as a ratio of
sums (nats over tokens), so that rows of different lengths count as they do in the metric.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from chg.config import Head
from chg.engine import Evaluate, SequenceScores


def score_difference(after: SequenceScores, before: SequenceScores) -> tuple[float, float | None]:
    """Difference of the metric and its standard error over sequences (None for one sequence)."""
    tokens = before.counts.sum()
    differences = after.sums - before.sums
    score = differences.sum() / tokens
    n = len(differences)
    if n < 2:
        return float(score), None
    residuals = differences - score * before.counts
    return float(score), float(np.sqrt(n / (n - 1) * (residuals**2).sum()) / tokens)


def closed_alone(
    baseline: Float[Tensor, "layer head"], heads: Iterable[Head]
) -> list[Float[Tensor, "layer head"]]:
    """Make the baseline, then a gate matrix per head with that head alone closed."""
    matrices = [baseline]
    for layer, head in heads:
        matrix = baseline.clone()
        matrix[layer, head] = 0
        matrices.append(matrix)
    return matrices


def closed_in_turn(
    baseline: Float[Tensor, "layer head"], heads: Iterable[Head]
) -> list[Float[Tensor, "layer head"]]:
    """Make the baseline, then a gate matrix per head with that head and all before it closed."""
    matrices = [baseline]
    for layer, head in heads:
        matrix = matrices[-1].clone()
        matrix[layer, head] = 0
        matrices.append(matrix)
    return matrices


@dataclass(frozen=True)
class ClosedAlone:
    """Scores of every row with all heads at the baseline, and with each head closed alone."""

    before: SequenceScores
    after: Mapping[Head, SequenceScores]

    def matrices(self, shape: tuple[int, ...]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Scores and their standard errors, `[layer, head]`, nats per token; NaN for no head."""
        scores, errors = np.full((2, *shape), np.nan)
        for head, ablated in self.after.items():
            score, error = score_difference(ablated, self.before)
            scores[head] = score
            errors[head] = np.nan if error is None else error
        return scores, errors


def individual_scores(
    evaluate: Evaluate,
    name: str,
    baseline: Float[Tensor, "layer head"],
    exists: Bool[Tensor, "layer head"],
) -> ClosedAlone:
    """Ablate every head alone, all others at the baseline.

    Args:
        evaluate: scores rows under gate matrices.
        name: the measurement, as `evaluate` is to call it.
        baseline: gates that the other heads stay at.
        exists: entries of the gate matrix that are heads.
    """
    heads: list[Head] = [(layer, head) for layer, head in exists.nonzero().tolist()]
    before, *after = evaluate(name, closed_alone(baseline, heads))
    return ClosedAlone(before, dict(zip(heads, after, strict=True)))

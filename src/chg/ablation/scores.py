"""Scores of ablation: differences of the metric with their standard errors."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from chg.config import Head
from chg.engine import Evaluate, SequenceScores
from chg.results import HeadScore


def score_difference(after: SequenceScores, before: SequenceScores) -> tuple[float, float | None]:
    """Difference of the metric and its standard error over sequences (None for one sequence)."""
    tokens = before.counts.sum()
    differences = after.logprob_sums - before.logprob_sums
    score = differences.sum() / tokens
    n = len(differences)
    if n < 2:
        return float(score), None
    residuals = differences - score * before.counts
    return float(score), float(np.sqrt(n / (n - 1) * (residuals**2).sum()) / tokens)


def head_scores(
    heads: list[Head], scores: list[SequenceScores], *, exact: bool
) -> tuple[HeadScore, ...]:
    baseline, *ablated = scores
    return tuple(
        HeadScore(layer, head, *score_difference(after, baseline), exact=exact)
        for (layer, head), after in zip(heads, ablated, strict=True)
    )


def individual_scores(
    evaluate: Evaluate,
    name: str,
    baseline: Float[Tensor, "layer head"],
    exists: Bool[Tensor, "layer head"],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """`[layer, head]` scores and standard errors of individual ablation."""
    matrices, heads = [baseline], exists.nonzero().tolist()
    for layer, head in heads:
        matrix = baseline.clone()
        matrix[layer, head] = 0
        matrices.append(matrix)
    before, *after = evaluate(name, matrices)
    scores, errors = np.full((2, *exists.shape), np.nan)
    for (layer, head), one in zip(heads, after, strict=True):
        score, error = score_difference(one, before)
        scores[layer, head] = score
        errors[layer, head] = np.nan if error is None else error
    return scores, errors

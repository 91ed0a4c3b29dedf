"""Heads closed together: whole roles, and pairs of heads of which either may suffice.

All other heads are open, so that the figures are those of a model without these heads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool
from numpy.typing import NDArray
from torch import Tensor

from chg.ablation.scores import ClosedAlone, score_difference
from chg.config import Head
from chg.engine import Evaluate, SequenceScores
from chg.results import (
    FAMILIES,
    GroupEffect,
    RedundantPair,
    in_family,
    p_values,
    q_values,
    t_quantile,
)


def close_roles(
    evaluate: Evaluate, roles: NDArray[Any], exists: Bool[Tensor, "layer head"]
) -> tuple[GroupEffect, ...]:
    """Close all heads of each role together, those that have it in part among them.

    Args:
        evaluate: scores held-out rows under gate matrices.
        roles: role over all seeds, `[layer, head]`.
        exists: entries of the gate matrix that are heads.
    """
    chosen = {full: in_family(roles, score) for score, (full, *_) in FAMILIES.items()}
    chosen = {role: where for role, where in chosen.items() if where.any()}
    closed = [torch.ones(exists.shape).masked_fill(torch.from_numpy(w), 0) for w in chosen.values()]
    before, *after = evaluate("roles", [torch.ones(exists.shape), *closed])
    effects = []
    for (role, where), scores in zip(chosen.items(), after, strict=True):
        low, high = interval(scores, before)
        score, _ = score_difference(scores, before)
        effects.append(GroupEffect(role, int(where.sum()), score, low, high, scores.accuracy))
    return tuple(effects)


def interval(after: SequenceScores, before: SequenceScores) -> tuple[float | None, float | None]:
    """95 % interval over rows of a difference of the metric; None for a single row."""
    score, error = score_difference(after, before)
    if error is None:
        return None, None
    reach = t_quantile(len(before.counts)) * error
    return score - reach, score + reach


def close_pairs(
    evaluate: Evaluate,
    pairs: Sequence[tuple[Head, Head]],
    alone: ClosedAlone,
    shape: tuple[int, int],
) -> tuple[RedundantPair, ...]:
    """Close both heads of each pair, and compare with closing either alone.

    Args:
        evaluate: scores held-out rows under gate matrices.
        pairs: the pairs, as `propose_pairs` lists them.
        alone: what closing each head alone did, all others open, on the same rows.
        shape: layers and heads of the gate matrix.
    """
    if not pairs:
        return ()
    matrices = []
    for pair in pairs:
        matrix = torch.ones(shape)
        matrix[tuple(zip(*pair, strict=True))] = 0
        matrices.append(matrix)
    together = evaluate("pairs", matrices)
    before = alone.before
    found, excesses = [], []
    for pair, both in zip(pairs, together, strict=True):
        one, other = (alone.after[head] for head in pair)
        # excess = (both - before) - (one - before) - (other - before), row by row
        excesses.append(score_difference(_sum(both, before), _sum(one, other)))
        scores = [score_difference(scores, before)[0] for scores in (one, other, both)]
        found.append((pair, (scores[0], scores[1]), scores[2]))
    q = q_values(_one_sided([e for e, _ in excesses], [s for _, s in excesses], len(before.counts)))
    return tuple(
        RedundantPair(*parts, excess, error, float(of_pair))
        for parts, (excess, error), of_pair in zip(found, excesses, q, strict=True)
    )


def _sum(one: SequenceScores, other: SequenceScores) -> SequenceScores:
    """Add the metric row by row; only differences of such sums mean anything."""
    return replace(one, metric_sums=one.sums + other.sums)


def _one_sided(
    scores: Sequence[float], errors: Sequence[float | None], rows: int
) -> NDArray[np.float64]:
    """P values of scores below 0; NaN for a single row."""
    values = np.asarray(scores)
    stderrs = np.asarray([np.nan if error is None else error for error in errors])
    both_sides = p_values(values, stderrs, rows)
    return np.where(values < 0, both_sides / 2, 1 - both_sides / 2)

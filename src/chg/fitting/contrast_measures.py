"""Measures of contrastive gates: both sides on rows that were not fitted, before and after."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from chg.config import ContrastConfig
from chg.data import TokenData
from chg.engine import Engine, EvaluationOptions, SequenceScores, evaluate_open
from chg.gating import HeadGates
from chg.results import ContrastFit, SideMetrics

Sides = tuple[TokenData, TokenData]
"""Rows to retain and rows to forget."""


@dataclass(frozen=True)
class ContrastPlan:
    """Purpose of one gate matrix of the passes."""

    reversed: bool
    alpha: float
    start: int


def measure_sides(
    engine: Engine, logits: Float[Tensor, "fit layer head"], sides: Sides, config: ContrastConfig
) -> list[tuple[SideMetrics, SideMetrics]]:
    """Measure both sides for every fit: the data's own sides, whatever the fit's direction."""
    matrices = [torch.ones(logits.shape[1:])]
    for fitted in map(HeadGates, logits):
        matrices += [fitted.values, fitted.thresholded]
    options = EvaluationOptions(batch_size=config.batch_size)
    by_side = []
    for data in sides:
        sample = data.sample(config.eval_rows, config.seed)
        before, *after = evaluate_open(engine, sample, matrices, options)
        by_side.append([_side(before, *after[2 * k : 2 * k + 2]) for k in range(len(logits))])
    return list(zip(*by_side, strict=True))


def _side(
    before: SequenceScores, after: SequenceScores, thresholded: SequenceScores
) -> SideMetrics:
    return SideMetrics(
        before.nll,
        after.nll,
        thresholded.nll,
        before.accuracy,
        after.accuracy,
        thresholded.accuracy,
    )


def fit_of_plan(
    plan: ContrastPlan,
    config: ContrastConfig,
    seen: tuple[SideMetrics, SideMetrics],
    unseen: tuple[SideMetrics, SideMetrics] | None,
) -> ContrastFit:
    """Describe one fit by its measures, in its own direction."""
    order = (1, 0) if plan.reversed else (0, 1)
    return ContrastFit(
        plan.alpha,
        plan.start,
        config.seed + plan.start,
        *(seen[i] for i in order),
        *(unseen[i] for i in order) if unseen else (),
    )

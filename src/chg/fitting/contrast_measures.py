"""What contrastive gates do to both sides, measured on rows that were not fitted."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from chg.config import ContrastConfig
from chg.data import TokenData
from chg.engine import SequenceScores, evaluate_gates
from chg.gating import HeadGates, Reference
from chg.results import ContrastFit, SideMetrics

Sides = tuple[TokenData, TokenData]
"""Rows to retain and rows to forget."""


@dataclass(frozen=True)
class ContrastPlan:
    """What one gate matrix of the passes is fitted for."""

    reversed: bool
    alpha: float
    start: int


def measure(
    model: nn.Module,
    logits: Tensor,
    sides: Sides,
    config: ContrastConfig,
    reference: Reference | None = None,
) -> list[tuple[SideMetrics, SideMetrics]]:
    """Figures of both sides for every fit: of the data's own, whatever the fit's direction."""
    matrices = [torch.ones(logits.shape[1:])]
    for one in logits:
        matrices += [HeadGates(one).values, HeadGates(one).thresholded]
    figures = []
    for data in sides:
        sample = data.sample(config.eval_rows, config.seed)
        before, *after = evaluate_gates(
            model, sample, matrices, batch_size=config.batch_size, reference=reference
        )
        figures.append([_side(before, after[2 * k], after[2 * k + 1]) for k in range(len(logits))])
    return list(zip(*figures, strict=True))


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


def figures_of(
    fit: ContrastPlan,
    config: ContrastConfig,
    seen: tuple[SideMetrics, SideMetrics],
    unseen: tuple[SideMetrics, SideMetrics] | None,
) -> ContrastFit:
    """What one fit did, in its own direction."""
    order = (1, 0) if fit.reversed else (0, 1)
    return ContrastFit(
        fit.alpha,
        fit.start,
        config.seed + fit.start,
        *(seen[i] for i in order),
        *(unseen[i] for i in order) if unseen else (),
    )

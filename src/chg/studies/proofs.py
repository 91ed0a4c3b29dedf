"""Proofs of a study on held-out rows: every head, whole roles, pairs, and the causal check."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from chg.ablation import (
    ClosedAlone,
    causal_check,
    close_pairs,
    close_roles,
    individual_scores,
    measure_faithfulness,
    random_ranking,
)
from chg.config import StudyConfig
from chg.engine import EvaluationOptions, estimate_scores
from chg.results import (
    Checks,
    Competence,
    Effects,
    Faithfulness,
    GroupEffect,
    Ranking,
    StudyScores,
    propose_pairs,
    role_over_seeds,
)
from chg.studies.resumable import ResumableEvaluation

TOLERANCE = 0.1
"""Share of the effect of closing the facilitating heads together that counts as about zero."""
FEWEST_ROWS = 32
"""Held-out rows up to which all are used where otherwise half of them are."""

Timed = Callable[[str], AbstractContextManager[None]]
"""Context that notes how long a step with this name takes."""


@dataclass(frozen=True)
class Prover:
    """Measurements that prove what gates say, on rows that they were not fitted on.

    Args:
        rows: held-out rows.
        scores: G+, scores and roles of a study.
        removal: gates under removal, which propose redundant pairs.
        exists: entries of the gate matrix that are heads.
        config: settings of the study, those of the check among them.
        competence: whether the model does the task, which every verdict says; None if not known.
        timed: notes how long each step takes.
    """

    rows: ResumableEvaluation
    scores: StudyScores
    removal: Float[Tensor, "seed layer head"]
    exists: Bool[Tensor, "layer head"]
    config: StudyConfig
    competence: Competence | None = None
    timed: Timed = lambda _: nullcontext()

    def prove(self) -> tuple[Effects, Checks]:
        """Measure everything; the effects of every head, and the proofs."""
        config, rows = self.config, self.rows
        with self.timed("ablation"):
            alone = individual_scores(rows.score, "ablation", torch.ones(self.shape), self.exists)
        with self.timed("estimate"):
            effects = self._effects(alone)
        with self.timed("roles and pairs together"):
            groups = close_roles(rows.score, self.overall, self.exists)
            proposed = propose_pairs(self.removal.double().numpy())
            pairs = close_pairs(rows.score, proposed, alone, self.shape)
        tolerance = config.check_tolerance or _tolerance(groups)
        proofs = Checks(
            groups=groups,
            redundant=tuple(
                sorted((pair for pair in pairs if pair.proven), key=lambda pair: pair.together)
            ),
            proposed=len(proposed),
            tolerance=tolerance,
        )
        if config.check_seeds:
            with self.timed("causal check"):
                proofs = self._checked(proofs)
            with self.timed("ablation at G+"):
                effects = self._at_retention(effects)
        return effects, replace(proofs, correlations=self.scores.correlations(effects))

    def faithfulness(self, rankings: Sequence[Ranking]) -> Faithfulness:
        """Measure rankings beside random ones, on half of the rows if they are many."""
        with self.timed("faithfulness"):
            return measure_faithfulness(
                self.half.score,
                [*rankings, random_ranking(self.exists, self.config.seed)],
                self.exists,
                ablation=self.config.ablation,
                metric=self.config.metric,
            )

    @property
    def half(self) -> ResumableEvaluation:
        """Half of the rows, or all where they are few: for what would cost too much on all."""
        return self.rows.some(half_of(len(self.rows.data)))

    @property
    def overall(self) -> NDArray[Any]:
        """Role over all seeds, `[layer, head]`."""
        shows_task = self.competence is None or self.competence.shows_task
        return role_over_seeds(self.scores.roles, self.config.agreement, shows_task=shows_task)

    @property
    def shape(self) -> tuple[int, int]:
        """Layers and heads of the gate matrix."""
        layers, heads = self.exists.shape
        return layers, heads

    def _effects(self, alone: ClosedAlone) -> Effects:
        scores, errors = alone.matrices(self.shape)
        rows = self.rows
        options = EvaluationOptions(rows.batch_size)
        baseline = torch.ones(self.shape)
        with rows.open() as engine:
            estimate, _ = estimate_scores(engine, rows.data, baseline, options)
        known = np.where(self.exists.numpy(), estimate.numpy(), np.nan)
        return Effects(scores, errors, known, len(rows.data))

    def _checked(self, proofs: Checks) -> Checks:
        config = self.config
        curves = causal_check(
            self.rows.score,
            self.scores,
            seeds=config.check_seeds,
            points=config.check_points,
            tolerance=proofs.tolerance,
        )
        if self.competence is not None and not self.competence.has_grounds:
            note = "; but the model does not do this task"
            curves = tuple(replace(curve, verdict=curve.verdict + note) for curve in curves)
        return replace(proofs, curves=curves)

    def _at_retention(self, effects: Effects) -> Effects:
        """Ablate every head from the first seed's own G+, on half of the rows if they are many."""
        gates = torch.sigmoid(self.scores.retention[0])
        rows = self.half
        alone = individual_scores(rows.score, "ablation_at_retention", gates, self.exists)
        scores, errors = alone.matrices(self.shape)
        return replace(
            effects,
            at_retention=scores,
            at_retention_stderr=errors,
            sequences_at_retention=len(rows.data),
        )


def half_of(rows: int) -> int:
    """Count half of the rows, or all of them where they are few."""
    return max(min(rows, FEWEST_ROWS), rows // 2)


def _tolerance(groups: tuple[GroupEffect, ...]) -> float | None:
    """Difference that counts as about zero; None where no facilitating heads set it."""
    effect = next((group.score for group in groups if group.role == "facilitating"), 0.0)
    return TOLERANCE * abs(effect) or None

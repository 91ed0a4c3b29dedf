"""Proving what a study says: ablation, the causal check, and how scores agree with effects."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from chg.ablation import causal_check, estimate_scores, individual_scores
from chg.data import TokenData
from chg.engine import Evaluate
from chg.errors import GateError
from chg.gating import Reference
from chg.models import AnyModel, existing_heads, unwrap_model
from chg.report import Study
from chg.results import (
    SCORES,
    CausalCurve,
    Correlation,
    Effects,
    StudyScores,
    rank_correlation,
)
from chg.studies.resumable import ResumableEvaluation


@dataclass(frozen=True)
class Validation:
    """What the check of a study found."""

    checks: tuple[CausalCurve, ...]
    correlations: tuple[Correlation, ...]


def validate(
    model: AnyModel,
    study: Study,
    held_out: TokenData,
    *,
    reference: Reference | None = None,
    seeds: int = 3,
    points: int = 12,
    tolerance: float = 0.05,
    batch_size: int = 16,
    show_progress: bool = True,
) -> Validation:
    """Check a study causally, on rows that it was not fitted on (paper, section 4.1).

    Args:
        model: the model that was studied; left as it is.
        study: its gates and scores.
        held_out: rows to measure on.
        reference: what ablated heads are replaced by; zeros if not given (`make_reference`).
        seeds: seeds whose gates are checked, from the first on.
        points: steps of a curve, about.
        tolerance: what counts as about zero, as a share of the largest difference.
        batch_size: rows per forward pass at most.
        show_progress: progress bars, on a terminal.

    Raises:
        GateError: the study is of a model with other heads.
    """
    model = unwrap_model(model)
    exists = existing_heads(model, study.unit)
    if tuple(exists.shape) != study.roles.shape[1:]:
        raise GateError(
            f"the study has {study.roles.shape[1:]} heads, the model {tuple(exists.shape)}; it is "
            "of another model"
        )
    rows = ResumableEvaluation(model, held_out, reference, batch_size, None, show_progress)
    scores = StudyScores(study.scores, study.roles, torch.from_numpy(study.logits["retention"]))
    effects = measure_effects(rows, exists)
    return Validation(
        causal_check(
            rows.score,
            torch.sigmoid(scores.retention[:seeds]),
            {name: values[:seeds] for name, values in scores.by_name.items()},
            scores.roles[:seeds],
            points=points,
            tolerance=tolerance,
        ),
        scores.correlations(effects) + at_retention(rows.score, scores, exists, study.seeds[0]),
    )


def measure_effects(rows: ResumableEvaluation, exists: Bool[Tensor, "layer head"]) -> Effects:
    """Every head ablated alone with all others open, and the estimate of that."""
    baseline = torch.ones(exists.shape)
    scores, errors = individual_scores(rows.score, "ablation", baseline, exists)
    estimate, _ = estimate_scores(
        rows.model, rows.data, baseline, batch_size=rows.batch_size, reference=rows.reference
    )
    return Effects(scores, errors, np.where(exists.numpy(), estimate.numpy(), np.nan))


def at_retention(
    evaluate: Evaluate, scores: StudyScores, exists: Bool[Tensor, "layer head"], seed: int
) -> tuple[Correlation, ...]:
    """Scores of the first seed against ablation from its own G+."""
    gates = torch.sigmoid(scores.retention[0])
    effect, _ = individual_scores(evaluate, "ablation_at_retention", gates, exists)
    return tuple(
        Correlation(
            name,
            f"ablation at G+ (seed {seed})",
            rank_correlation(scores.by_name[name][0], effect),
        )
        for name in SCORES
    )

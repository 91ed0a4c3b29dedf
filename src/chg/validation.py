"""Proving what a study says: ablation, the causal check, and how scores agree with effects."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from chg.ablation import score_difference
from chg.causal_check import CausalCurve, Correlation, Evaluate, causal_check
from chg.data.tokens import TokenData
from chg.errors import GateError
from chg.estimate import estimate_scores
from chg.foreign import AnyModel, stock_model
from chg.gate_wrapper import existing_heads
from chg.held_out import HeldOutRows
from chg.references import Reference
from chg.statistics import rank_correlation
from chg.studies import Study
from chg.study_table import Effects, StudyScores
from chg.taxonomy import SCORES


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
    model = stock_model(model)
    exists = existing_heads(model, study.unit)
    if tuple(exists.shape) != study.roles.shape[1:]:
        raise GateError(
            f"the study has {study.roles.shape[1:]} heads, the model {tuple(exists.shape)}; it is "
            "of another model"
        )
    rows = HeldOutRows(model, held_out, reference, batch_size, None, show_progress)
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


def measure_effects(rows: HeldOutRows, exists: Bool[Tensor, "layer head"]) -> Effects:
    """Every head ablated alone with all others open, and the estimate of that."""
    baseline = torch.ones(exists.shape)
    scores, errors = _ablated(rows.score, "ablation", baseline, exists)
    estimate, _ = estimate_scores(
        rows.model, rows.data, baseline, batch_size=rows.batch_size, reference=rows.reference
    )
    return Effects(scores, errors, np.where(exists.numpy(), estimate.numpy(), np.nan))


def at_retention(
    evaluate: Evaluate, scores: StudyScores, exists: Bool[Tensor, "layer head"], seed: int
) -> tuple[Correlation, ...]:
    """Scores of the first seed against ablation from its own G+."""
    gates = torch.sigmoid(scores.retention[0])
    effect, _ = _ablated(evaluate, "ablation_at_retention", gates, exists)
    return tuple(
        Correlation(
            name,
            f"ablation at G+ (seed {seed})",
            rank_correlation(scores.by_name[name][0], effect),
        )
        for name in SCORES
    )


def _ablated(
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

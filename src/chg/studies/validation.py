"""Proof of what a study says: ablation, the causal check, and agreement of scores with effects."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from chg.ablation import causal_check, estimate_scores, individual_scores
from chg.config import StudyConfig
from chg.data import TokenData
from chg.engine import Evaluate, EvaluationOptions
from chg.errors import ConfigError, GateError
from chg.gating import prepare
from chg.models import (
    AnyModel,
    describe_model,
    find_head_sites,
    unwrap_model,
)
from chg.report import Study
from chg.results import (
    SCORES,
    CausalCurve,
    Correlation,
    Effects,
    StudyScores,
    rank_correlation,
)
from chg.studies.folder import require_same_weights
from chg.studies.resumable import ResumableEvaluation


@dataclass(frozen=True)
class Validation:
    """Result of the check of a study."""

    checks: tuple[CausalCurve, ...]
    correlations: tuple[Correlation, ...]

    def __repr__(self) -> str:
        words = {True: "holds", False: "does not hold", None: "not tested"}
        said = ", ".join(f"{curve.score} {words[curve.holds]}" for curve in self.checks)
        return f"<Validation: {said or 'no curve'}; {len(self.correlations)} correlations>"


def validate(
    model: AnyModel,
    study: Study,
    held_out: TokenData,
    *,
    reference: TokenData | None = None,
    seeds: int = 3,
    points: int = 12,
    tolerance: float = 0.05,
    batch_size: int = 16,
    show_progress: bool = True,
) -> Validation:
    """Check a study causally, on rows that it was not fitted on (paper, section 4.1).

    Heads are replaced as they were in the study (`ablation`, `per_position`).

    Args:
        model: the model that was studied; left as it is.
        study: its gates and scores.
        held_out: rows to measure on.
        reference: rows that means are over, or that heads are resampled from. A study with
            `ablation="mean"` needs them; one that resamples draws from `held_out` if not given.
        seeds: seeds whose gates are checked, from the first on.
        points: steps of a curve, about.
        tolerance: difference that counts as about zero, as a share of the largest.
        batch_size: rows per forward pass at most.
        show_progress: progress bars, on a terminal.

    Raises:
        ConfigError: the study needs reference rows, or takes none; or it is of other weights.
        GateError: the study is of a model with other heads.
    """
    model = unwrap_model(model)
    exists = find_head_sites(model).existing(study.unit)
    if tuple(exists.shape) != study.roles.shape[1:]:
        raise GateError(
            f"the study has {study.roles.shape[1:]} heads, the model {tuple(exists.shape)}; it is "
            "of another model"
        )
    require_same_weights(study.manifest["model"], describe_model(model), "the study")
    config = StudyConfig(**study.manifest["configuration"])
    if config.ablation == "mean" and reference is None:
        raise ConfigError(
            "the study replaced heads by their means over its rows; give those rows as reference"
        )
    (held_out,), fill = prepare(model, config, (held_out,), reference)
    rows = ResumableEvaluation(model, held_out, fill, batch_size, None, show_progress)
    scores = StudyScores(study.scores, study.roles, torch.from_numpy(study.logits["retention"]))
    effects = measure_effects(rows, exists)
    checks = causal_check(rows.score, scores, seeds=seeds, points=points, tolerance=tolerance)
    at_gates = at_retention(rows.score, scores, exists, study.seeds[0])
    return Validation(checks, scores.correlations(effects) + at_gates)


def measure_effects(rows: ResumableEvaluation, exists: Bool[Tensor, "layer head"]) -> Effects:
    """Ablate every head alone with all others open, and estimate the same from gradients."""
    baseline = torch.ones(exists.shape)
    scores, errors = individual_scores(rows.score, "ablation", baseline, exists)
    options = EvaluationOptions(rows.batch_size)
    estimate, _ = estimate_scores(rows.model, rows.data, baseline, options, rows.reference)
    return Effects(scores, errors, np.where(exists.numpy(), estimate.numpy(), np.nan))


def at_retention(
    evaluate: Evaluate, scores: StudyScores, exists: Bool[Tensor, "layer head"], seed: int
) -> tuple[Correlation, ...]:
    """Correlate the scores of the first seed with ablation from its own G+."""
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

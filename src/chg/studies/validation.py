"""Proof of what a study says: ablation, the causal check, rank correlations and faithfulness."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from chg.ablation import study_rankings
from chg.config import StudyConfig
from chg.data import TokenData
from chg.errors import ConfigError, GateError, ResultsError
from chg.gating import prepare
from chg.models import (
    AnyModel,
    describe_model,
    find_head_sites,
    plain_torch,
    unwrap_model,
)
from chg.report import Study
from chg.results import CausalCurve, Checks, Correlation, Faithfulness, StudyScores
from chg.studies.folder import require_same_weights
from chg.studies.proofs import Prover
from chg.studies.resumable import ResumableEvaluation


@dataclass(frozen=True)
class Validation:
    """Result of the check of a study."""

    proofs: Checks
    faithfulness: Faithfulness
    """Effects of keeping the first heads of the study's rankings."""

    @property
    def checks(self) -> tuple[CausalCurve, ...]:
        """Curves of the causal check."""
        return self.proofs.curves

    @property
    def correlations(self) -> tuple[Correlation, ...]:
        """Rank correlations of scores with measured effects."""
        return self.proofs.correlations

    def __repr__(self) -> str:
        words = {True: "holds", False: "does not hold", None: "not tested"}
        said = ", ".join(f"{curve.score} {words[curve.holds]}" for curve in self.checks)
        return (
            f"<Validation: {said or 'no curve'}; {len(self.correlations)} correlations, "
            f"{len(self.faithfulness.curves)} rankings>"
        )


@plain_torch()
def validate(
    model: AnyModel,
    study: Study,
    held_out: TokenData,
    *,
    reference: TokenData | None = None,
    seeds: int = 3,
    points: int = 12,
    tolerance: float | None = None,
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
        seeds: seeds whose gates are checked, from the first on; fewer where that would cost more
            than ablating every head.
        points: steps of a curve at most; fewer for the same reason.
        tolerance: nats per token that count as about zero; a tenth of the effect of closing the
            facilitating heads together if not given.
        batch_size: rows per forward pass at most.
        show_progress: progress bars, on a terminal.

    Raises:
        ConfigError: the study needs reference rows, or takes none; or it is of other weights.
        ResultsError: `study` is no `Study`.
        GateError: the study is of a model with other heads.
    """
    model = unwrap_model(model)
    if not isinstance(study, Study):
        raise ResultsError(
            f"a study is what chg.Study.load(folder) reads; got {type(study).__name__}"
        )
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
    (held_out,), fill = prepare(model, config, (held_out,), reference, config.metric)
    rows = ResumableEvaluation(
        model, held_out, fill, batch_size, None, show_progress, config.metric
    )
    logits = {stage: torch.from_numpy(study.logits[stage]) for stage in ("retention", "removal")}
    prover = Prover(
        rows,
        StudyScores(study.scores, study.roles, logits["retention"]),
        torch.sigmoid(logits["removal"]),
        exists,
        replace(config, check_seeds=seeds, check_points=points, check_tolerance=tolerance),
        study.competence,
    )
    _, proofs = prover.prove()
    return Validation(proofs, prover.faithfulness(study_rankings(study)))

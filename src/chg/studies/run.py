"""A whole study: many seeds, roles with uncertainty, ablation, a causal check, a report.

1. Whether the model does the task at all, before anything is fitted (`Competence`).
2. G0 of every seed, then G+ and G- of all, side by side (`fits.py`).
3. Proofs on held-out rows: every head ablated, whole roles, pairs, the causal check (`proofs.py`).
4. Attention patterns of every head, on random tokens.
5. One table of heads, a page and figures (`report/`), in one folder (`folder.py`).
"""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool
from numpy.typing import NDArray
from torch import Tensor

from chg.ablation import study_rankings
from chg.config import StudyConfig
from chg.data import TokenData, require_token_data, split_held_out
from chg.engine import attention_patterns, competence
from chg.errors import ModelError
from chg.files import atomic_path
from chg.gating import prepare
from chg.models import (
    AnyModel,
    find_head_sites,
    plain_torch,
    unwrap_model,
)
from chg.report import Study, save_study
from chg.results import (
    CHECKS,
    FAITHFULNESS,
    GATES,
    STAGES,
    Competence,
    LogitsOfStudy,
    heads_table,
    lambda_range,
    read_convergence,
    read_path,
    read_scores,
    write_checks,
)
from chg.studies.description import describe_study, summarize
from chg.studies.fits import fit_initial, fit_pushed, logits_of_study
from chg.studies.folder import StudyFolder, title_of
from chg.studies.forecast import Forecast, forecast, tell
from chg.studies.proofs import Prover
from chg.studies.ranking import fit_ranking
from chg.studies.resumable import ResumableEvaluation
from chg.studies.waves import StudyInputs

logger = logging.getLogger(__name__)


@plain_torch()
def study(
    model: AnyModel,
    data: TokenData,
    config: StudyConfig | None = None,
    *,
    held_out: TokenData | None = None,
    reference: TokenData | None = None,
    out: str | Path | None = None,
    title: str | None = None,
    resume: bool = False,
    command: Mapping[str, Any] | None = None,
    show_progress: bool = True,
    **settings: Any,
) -> Study:
    """Find out what every head does for a task, and how sure that is.

    Args:
        model: a causal language model; left exactly as it was.
        data: rows to fit on.
        config: all settings; or give single ones as keywords, `seeds=5`.
        held_out: rows to measure on; the last tenth of `data` if not given.
        reference: rows that `ablation="mean"` is over, or that `"resample"` takes heads from.
        out: folder for everything; without one the study is only returned.
        title: what the study is called in pictures and the page; model and data if not given. One
            that is resumed can be called something else.
        resume: go on with a study that was stopped, to the same numbers, or with any study to more
            `max_steps` or `seeds`.
        command: how it was called, kept in the manifest for `chg validate`.
        show_progress: progress bars, on a terminal.
        settings: fields of `StudyConfig`.

    Raises:
        ArchitectureError: the model's heads cannot be found.
        ConfigError: a setting is wrong, or differs from the study that is to be resumed.
        DataError: there are too few rows.
        DivergedError: a loss became NaN.
        OutputError: `out` exists, or cannot be written.

    Example:
        >>> result = study(model, data, seeds=3, max_steps=200)  # doctest: +SKIP
        >>> result.heads[result.heads.role == "facilitating"]  # doctest: +SKIP
    """
    model = unwrap_model(model)
    config = config or StudyConfig(**settings)
    data, held_out = _rows(data, held_out, config)
    with ExitStack() as stack:
        written = out is not None
        if out is None:
            out = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "study"
        manifest = describe_study(model, data, held_out, config, command)
        manifest["title"] = title or title_of(out) or manifest["title"]
        folder = stack.enter_context(StudyFolder(out, manifest, resume=resume))
        rows = (data, held_out)
        (data, held_out), fill = prepare(model, config, rows, reference, config.metric)
        inputs = StudyInputs(model, data, held_out, fill, config, folder, show_progress)
        measured = ResumableEvaluation(
            model, held_out, fill, config.batch_size, folder, show_progress, config.metric
        )
        exists = find_head_sites(model).existing(config.unit)
        if folder.finished:
            return _retitled(folder)
        able = competence(model, held_out, batch_size=config.batch_size, metric=config.metric)
        logger.log(logging.INFO if able.has_grounds else logging.WARNING, able.sentence)
        if show_progress:
            tell(forecast(model, data, held_out, config, fill))
        return _Run(inputs, measured, exists, able).run(report=written)


def _retitled(folder: StudyFolder) -> Study:
    """Read the study that was done before, and draw it anew if it is called something else."""
    study, title = Study.load(folder.path), folder.manifest["title"]
    if study.manifest.get("title") != title:
        study = replace(study, manifest={**study.manifest, "title": title})
        save_study(study, folder.path)
        folder.finish(study.manifest)
    return study


def plan(
    model: AnyModel,
    data: TokenData,
    config: StudyConfig,
    *,
    held_out: TokenData | None = None,
    reference: TokenData | None = None,
) -> Forecast:
    """Say how long a study would take here, and how much memory, from a few passes of it.

    Raises:
        ArchitectureError, ConfigError, DataError: as `study`, which says what the arguments are.
    """
    model = unwrap_model(model)
    rows = _rows(data, held_out, config)
    (data, held_out), fill = prepare(model, config, rows, reference, config.metric)
    return forecast(model, data, held_out, config, fill)


def _rows(
    data: TokenData, held_out: TokenData | None, config: StudyConfig
) -> tuple[TokenData, TokenData]:
    """Rows to fit on, and as many as are wanted to measure on."""
    require_token_data(data)
    if held_out is None:
        data, held_out = split_held_out(data)
    return data, held_out.sample(config.eval_rows, config.seed)


@dataclass
class _Run:
    """A study under way."""

    inputs: StudyInputs
    rows: ResumableEvaluation
    exists: Bool[Tensor, "layer head"]
    competence: Competence
    times: dict[str, float] = field(default_factory=dict)

    @property
    def config(self) -> StudyConfig:
        """Settings of the study."""
        return self.inputs.config

    def run(self, *, report: bool) -> Study:
        """Run the steps that are not done yet; draw and write the report if it is wanted."""
        folder = self.inputs.folder
        initial = fit_initial(self.inputs)
        pushed = fit_pushed(self.inputs, initial)
        self.times |= {"initial": initial.seconds, "retention and removal": pushed.seconds}
        logits = logits_of_study(initial, pushed, self.config)
        scores = read_scores(logits, self.config)
        removal = torch.sigmoid(logits.main["removal"])
        ranked = self._ranked(logits.main["removal"])
        prover = Prover(
            self.rows, scores, removal, self.exists, self.config, self.competence, self._timed
        )
        effects, proofs = prover.prove()
        metrics = self._metrics(logits)
        logits.save(folder.path / GATES)
        write_checks(folder.path / CHECKS, proofs)
        overall = prover.overall
        lambdas = lambda_range(read_path(logits, self.config), overall, self.config.lambda_reg)
        further = {**lambdas, **ranked, **self._patterns()}
        table = heads_table(scores, overall, effects, proofs.tolerance, further)
        with atomic_path(folder.path / "heads.parquet") as path:
            table.to_parquet(path, index=False)
        manifest = {  # what all else rests on stands first
            "competence": self.competence.as_dict(),
            "figures": metrics,
            **folder.manifest,
            "convergence": read_convergence(logits, self.config).to_json(),
            "times": self.times,
        }
        manifest["summary"] = summarize(manifest, proofs)
        study = Study.read(folder.path, manifest)
        if ranked:
            curves = prover.faithfulness(study_rankings(study))
            curves.save(folder.path / FAITHFULNESS)
            study = replace(study, faithfulness=curves)
        if report:
            save_study(study, folder.path)
        folder.finish(manifest)
        return study

    def _ranked(self, removal: Tensor) -> Mapping[str, NDArray[np.float64]]:
        """Rank heads by a budgeted fit, if that is wanted."""
        if not self.config.budget_steps:
            return {}
        with self._timed("budgeted fit"):
            return {"budgeted_score": fit_ranking(self.inputs, removal).double().numpy()}

    def _patterns(self) -> Mapping[str, NDArray[np.float64]]:
        """Measure attention patterns if they are wanted; nothing where they cannot be read."""
        model, unit = self.inputs.model, self.config.unit
        if not self.config.patterns:
            return {}
        try:
            with self._timed("attention patterns"):
                show = self.inputs.show_progress
                return attention_patterns(model, unit=unit, show_progress=show).by_name
        except ModelError as error:
            logger.warning("%s; the study goes on without", error)
            return {}

    @contextmanager
    def _timed(self, what: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.times[what] = time.perf_counter() - began

    def _metrics(self, logits: LogitsOfStudy) -> dict[str, Any]:
        """Measure NLL and accuracy on held-out rows, ungated and under every stage's fits."""
        matrices = [torch.ones(self.exists.shape)]
        for stage in STAGES:
            matrices += list(torch.sigmoid(logits.main[stage]))
        with self._timed("measuring fits"):
            ungated, *gated = self.rows.score("stages", matrices)
        seeds = self.config.seeds
        names = ["nll", "accuracy", *(["metric"] if self.config.metric != "logprob" else [])]
        metrics: dict[str, Any] = {"ungated": {name: getattr(ungated, name) for name in names}}
        for i, stage in enumerate(STAGES):
            of_stage = gated[i * seeds : (i + 1) * seeds]
            metrics[stage] = {
                name: _spread([getattr(scores, name) for scores in of_stage]) for name in names
            }
        return metrics


def _spread(values: list[float]) -> dict[str, float]:
    return {"mean": float(np.mean(values)), "min": min(values), "max": max(values)}

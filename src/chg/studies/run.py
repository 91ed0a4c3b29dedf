"""A whole study: many seeds, roles with uncertainty, ablation, a causal check, a report.

1. G0 of every seed, then G+ and G- of all, side by side (`stages.py`).
2. Held-out rows under every fit, and with every head ablated alone, all others open.
3. The causal check from G+ (`causal_check.py`), and how every score agrees with ablation at G = 1,
   with ablation at G+, and with the estimate from gradients.
4. One table of heads, a page and figures (`report/`), in one folder (`study_folder.py`).
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from chg.ablation import causal_check
from chg.config import ABLATION_WORDS, StudyConfig
from chg.data import TokenData, with_partners
from chg.errors import DataError
from chg.files import atomic_path
from chg.gating import with_reference
from chg.models import (
    AnyModel,
    describe_model,
    existing_heads,
    gate_shape,
    input_device,
    unwrap_model,
)
from chg.report import Study, save_study
from chg.results import (
    CHECKS,
    GATES,
    STAGES,
    CausalCurve,
    LogitsOfStudy,
    StudyScores,
    describe_config,
    git_commit,
    heads_table,
    package_versions,
    read_path,
    read_scores,
    write_checks,
)
from chg.studies.fits import StudyInputs, fit_initial, fit_pushed, logits_of_study
from chg.studies.folder import StudyFolder
from chg.studies.resumable import ResumableEvaluation
from chg.studies.validation import at_retention, measure_effects

HELD_OUT_SHARE = 0.1


def study(
    model: AnyModel,
    data: TokenData,
    config: StudyConfig | None = None,
    *,
    held_out: TokenData | None = None,
    reference: TokenData | None = None,
    out: str | Path | None = None,
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
        resume: go on with a study that was stopped, to the same numbers.
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
        >>> found = study(model, data, seeds=3, max_steps=200)  # doctest: +SKIP
        >>> found.heads[found.heads.role == "facilitating"]  # doctest: +SKIP
    """
    model = unwrap_model(model)
    config = config or StudyConfig(**settings)
    data, held_out = _split(data, held_out, config)
    with ExitStack() as stack:
        written = out is not None
        if out is None:
            out = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "study"
        folder = StudyFolder(out, _manifest(model, data, held_out, config, command), resume=resume)
        return _Run(model, data, held_out, config, reference, folder, show_progress).run(
            report=written
        )


def _split(
    data: TokenData, held_out: TokenData | None, config: StudyConfig
) -> tuple[TokenData, TokenData]:
    if held_out is None:
        if len(data) < 2:
            raise DataError(f"{data.name} has {len(data)} row; at least 2 are needed")
        cut = len(data) - max(1, int(len(data) * HELD_OUT_SHARE))
        data, held_out = data.select(range(cut)), data.select(range(cut, len(data)))
    return data, held_out.sample(config.eval_rows, config.seed)


class _Run:
    """One study under way."""

    def __init__(
        self,
        model: nn.Module,
        data: TokenData,
        held_out: TokenData,
        config: StudyConfig,
        reference: TokenData | None,
        folder: StudyFolder,
        show_progress: bool,
    ) -> None:
        self.config = config
        self.exists = existing_heads(model, config.unit)
        self.folder = folder
        self.times: dict[str, float] = {}
        data, fill = with_reference(model, data, config, reference)
        if config.ablation == "resample":
            held_out = with_partners(held_out, config.seed, reference)
        self.shared = StudyInputs(model, data, held_out, fill, config, self.folder, show_progress)
        self.rows = ResumableEvaluation(
            model, held_out, fill, config.batch_size, self.folder, show_progress
        )

    def run(self, *, report: bool) -> Study:
        """Everything, or what is left of it; with tables and pictures if somebody keeps them."""
        if self.folder.finished:
            return Study.load(self.folder.path)
        initial = fit_initial(self.shared)
        pushed = fit_pushed(self.shared, initial)
        self.times |= {"initial": initial.seconds, "retention and removal": pushed.seconds}
        logits = logits_of_study(initial, pushed, self.config)
        scores = read_scores(logits, self.config)
        strengths = read_path(logits, self.config)
        with self._timed("ablation"):
            effects = measure_effects(self.rows, self.exists)
        checks: tuple[CausalCurve, ...] = ()
        correlations = scores.correlations(effects)
        if self.config.check_seeds:
            with self._timed("causal check"):
                checks = self._check(scores)
                score, seed = self.rows.score, self.config.all_seeds[0]
                correlations += at_retention(score, scores, self.exists, seed)
        figures = self._figures(logits)
        logits.save(self.folder.path / GATES)
        write_checks(self.folder.path / CHECKS, checks, correlations)
        with atomic_path(self.folder.path / "heads.parquet") as path:
            heads_table(scores, effects, strengths, self.config).to_parquet(path, index=False)
        manifest = {**self.folder.manifest, "times": self.times, "figures": figures}
        manifest["summary"] = _summary(manifest)
        found = Study.read(self.folder.path, manifest)
        if report:
            save_study(found, self.folder.path)
        self.folder.finish(manifest)
        return found

    @contextmanager
    def _timed(self, what: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.times[what] = time.perf_counter() - began

    def _check(self, scores: StudyScores) -> tuple[CausalCurve, ...]:
        count = self.config.check_seeds
        return causal_check(
            self.rows.score,
            torch.sigmoid(scores.retention[:count]),
            {name: values[:count] for name, values in scores.by_name.items()},
            scores.roles[:count],
            points=self.config.check_points,
            tolerance=self.config.check_tolerance,
        )

    def _figures(self, logits: LogitsOfStudy) -> dict[str, Any]:
        """NLL and accuracy on held-out rows, ungated and under every stage's fits."""
        matrices = [torch.ones(self.exists.shape)]
        for stage in STAGES:
            matrices += list(torch.sigmoid(logits.main[stage]))
        with self._timed("measuring fits"):
            ungated, *gated = self.rows.score("stages", matrices)
        seeds = self.config.seeds
        figures: dict[str, Any] = {"ungated": {"nll": ungated.nll, "accuracy": ungated.accuracy}}
        for i, stage in enumerate(STAGES):
            own = gated[i * seeds : (i + 1) * seeds]
            figures[stage] = {
                "nll": _spread([one.nll for one in own]),
                "accuracy": _spread([one.accuracy for one in own]),
            }
        return figures


def _spread(values: list[float]) -> dict[str, float]:
    return {"mean": float(np.mean(values)), "min": min(values), "max": max(values)}


def _manifest(
    model: nn.Module,
    data: TokenData,
    held_out: TokenData,
    config: StudyConfig,
    command: Mapping[str, Any] | None,
) -> dict[str, Any]:
    described = describe_model(model)
    return {
        "title": f"{described['model']} on {data.name}",
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "model": described,
        "data": _describe(data),
        "held_out": _describe(held_out),
        "configuration": describe_config(config),
        "seeds": list(config.all_seeds),
        "shape": list(gate_shape(model, config.unit)),
        "unit": config.unit,
        "versions": package_versions(),
        "git_commit": git_commit(),
        "device": str(input_device(model)),
        "command": command,
    }


def _describe(data: TokenData) -> dict[str, Any]:
    return {
        "name": data.name,
        "fingerprint": data.fingerprint,
        "rows": len(data),
        "target_tokens": data.num_target_tokens,
    }


def _summary(manifest: Mapping[str, Any]) -> str:
    """What was run, in a paragraph."""
    config, held_out = manifest["configuration"], manifest["held_out"]
    layers, heads = manifest["shape"]
    lambdas = StudyConfig(**config).lambdas
    strengths = ", ".join(f"{one:g}" for one in lambdas)
    ablated = ABLATION_WORDS[config["ablation"]].target
    return (
        f"{config['seeds']} starting points of {manifest['model']['model']} ({layers} layers x "
        f"{heads} heads) were fitted on {manifest['data']['rows']} rows of "
        f"{manifest['data']['name']}: first gates alone (G0), then from there with pressure to "
        f"open (G+) and to close (G-), up to {config['max_steps'] or 'all'} updates of "
        f"{config['batch_size']} rows each, |lambda| {strengths}. Then every head was ablated "
        f"{ablated}, alone, on {held_out['rows']} held-out rows ({held_out['target_tokens']} "
        f"scored tokens), and the scores were checked by toggling heads in their order from the G+ "
        f"of {min(config['check_seeds'], config['seeds'])} seeds."
    )

"""Fits of a study: G0 of every seed, then G+ and G- of all of them, side by side.

1. Every seed draws its own start; all see the same rows in the same order (docs/method.md#fitting).
2. G+ and G- start from their seed's G0 and differ in the sign of the regularizer alone; further
   strengths of it are further fits of the same passes.
3. Every update of every fit is a line of `metrics.jsonl`. A checkpoint holds all that a run needs
   to go on to the same numbers.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from chg.config import StudyConfig
from chg.data import TokenData
from chg.engine import Engine, EvaluationOptions, evaluate_open, open_engine
from chg.fitting import (
    EVALUATIONS,
    GateOptimizer,
    MicroBatch,
    OptimizerOptions,
    Schedule,
    Update,
    nll_loss,
    starting_logits,
    total_updates,
    update_batches,
    updates_between_looks,
)
from chg.gating import Reference, count_gates
from chg.models import gate_shape
from chg.progress import progress_bar
from chg.results import LogitsOfStudy, Stage
from chg.studies.folder import StudyFolder, flush

PUSHED_FINAL = 0.2
"""Share of the step size that is left at the end of G+ and G-."""
WATCHED_ROWS = 32
"""Held-out rows whose NLL is followed during a fit."""


@dataclass(frozen=True)
class StageFit:
    """One gate matrix: its stage, its seed, and the regularizer's strength with its sign."""

    stage: Stage
    seed: int
    lambda_reg: float


@dataclass(frozen=True)
class StudyInputs:
    """Model, rows and settings that all fits of a study share."""

    model: nn.Module
    rows: TokenData
    held_out: TokenData
    reference: Reference | None
    config: StudyConfig
    folder: StudyFolder
    show_progress: bool = True


@dataclass(frozen=True)
class StageFits:
    """Final logits of all fits of a stage, and the seconds that they took."""

    plan: tuple[StageFit, ...]
    logits: Float[Tensor, "fit layer head"]
    seconds: float

    def of(self, stage: Stage, strength: float) -> Float[Tensor, "seed layer head"]:
        """Select the logits of every seed, of one stage at one strength."""
        places = [
            i
            for i, fit in enumerate(self.plan)
            if fit.stage == stage and abs(fit.lambda_reg) == strength
        ]
        return self.logits[places]


def fit_initial(inputs: StudyInputs) -> StageFits:
    """Fit G0 of every seed."""
    config = inputs.config
    plan = tuple(StageFit("initial", seed, 0.0) for seed in config.all_seeds)
    shape = gate_shape(inputs.model, config.unit)
    start = torch.cat([starting_logits(replace(config, seed=fit.seed), shape) for fit in plan])
    return _fit("initial", inputs, plan, start, Schedule(config.lr))


def fit_pushed(inputs: StudyInputs, initial: StageFits) -> StageFits:
    """Fit G+ and G- of every seed, at every strength."""
    config = inputs.config
    stages: tuple[tuple[Stage, int], ...] = (("retention", -1), ("removal", 1))
    plan = tuple(
        StageFit(stage, seed, sign * strength)
        for strength in config.lambdas
        for stage, sign in stages
        for seed in config.all_seeds
    )
    start = initial.logits.repeat(len(plan) // len(initial.plan), 1, 1)
    return _fit("pushed", inputs, plan, start, Schedule(config.lr_pushed, PUSHED_FINAL))


def logits_of_study(initial: StageFits, pushed: StageFits, config: StudyConfig) -> LogitsOfStudy:
    """Gather the logits of all stages, at the study's own strength and at every other."""
    main: dict[Stage, Tensor] = {"initial": initial.logits}
    path: dict[Stage, Tensor] = {}
    stages: tuple[Stage, ...] = ("retention", "removal")
    for stage in stages:
        main[stage] = pushed.of(stage, config.lambda_reg)
        if len(config.lambdas) > 1:
            path[stage] = torch.stack([pushed.of(stage, one) for one in config.lambdas])
    return LogitsOfStudy(main, path)


def _fit(
    name: str,
    inputs: StudyInputs,
    plan: tuple[StageFit, ...],
    start: Float[Tensor, "fit layer head"],
    schedule: Schedule,
) -> StageFits:
    """Run the updates of a stage that are not done yet."""
    config, folder = inputs.config, inputs.folder
    done = folder.kept(f"{name}_done")
    if done is not None:
        return StageFits(plan, done[0]["logits"], done[1]["seconds"])
    options = OptimizerOptions(
        lambdas=torch.tensor([fit.lambda_reg for fit in plan]),
        schedule=schedule,
        fits_per_pass=config.seeds_per_batch,
        settle=config.early_stop,
    )
    total = total_updates(config, len(inputs.rows))
    with open_engine(
        inputs.model, reference=inputs.reference, recompute=config.recompute
    ) as engine:
        optimizer = GateOptimizer(engine, start, config, options)
        seconds = _restore(name, folder, optimizer)
        stage = _Stage(name, inputs, plan, engine, optimizer, total)
        with _Record(stage, seconds) as record:
            loss = nll_loss(engine, inputs.rows.pad_id)
            optimizer.run(_updates(inputs, total, optimizer.step), total, loss, record)
            logits = optimizer.logits_of_heads().cpu()
            record.keep(f"{name}_done", {"logits": logits})
    folder.drop(name)
    return StageFits(plan, logits, record.seconds)


def _restore(name: str, folder: StudyFolder, optimizer: GateOptimizer) -> float:
    """Go on from a stage's checkpoint, if there is one; return the seconds that it took."""
    seconds, size = 0.0, _metrics_size(folder, name)
    checkpoint = folder.kept(name)
    if checkpoint is not None:
        optimizer.restore(checkpoint[0])
        seconds, size = checkpoint[1]["seconds"], checkpoint[1]["metrics"]
    folder.cut_metrics(size)
    return seconds


def _updates(inputs: StudyInputs, total: int, done: int) -> Iterator[list[MicroBatch]]:
    """Yield the rows of the updates that are left."""
    if done == total:
        return iter(())
    return islice(update_batches(inputs.rows, inputs.config, total), done, None)


def _metrics_size(folder: StudyFolder, name: str) -> int:
    """Find the place in the metrics where the lines of a stage begin."""
    initial = folder.kept("initial_done") if name == "pushed" else None
    return 0 if initial is None else int(initial[1]["metrics"])


@dataclass(frozen=True)
class _Stage:
    """A stage under way."""

    name: str
    inputs: StudyInputs
    plan: tuple[StageFit, ...]
    engine: Engine
    optimizer: GateOptimizer
    total: int


class _Record:
    """Record of a stage: progress bar, metrics, checkpoints. Called with every update."""

    def __init__(self, stage: _Stage, seconds_before: float) -> None:
        self._stage = stage
        self._folder = stage.inputs.folder
        self._began = time.perf_counter() - seconds_before
        self._file = self._folder.metrics.open("a", encoding="utf-8")
        names = {"initial": "fitting G0", "pushed": "fitting G+ and G-"}
        description = f"{names[stage.name]}, {len(stage.plan)} fits"
        self._bar = progress_bar(
            stage.total,
            description,
            show=stage.inputs.show_progress,
            initial=stage.optimizer.step,
        )
        self._waiting: list[tuple[Update, list[float | None]]] = []

    def __enter__(self) -> _Record:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._bar.close()

    @property
    def seconds(self) -> float:
        """Time of this stage so far, over all runs of it."""
        return time.perf_counter() - self._began

    def __call__(self, update: Update) -> None:
        held_out: list[float | None] = [None] * len(self._stage.plan)
        every = max(1, self._stage.total // EVALUATIONS)
        if update.step % every == 0 or update.step == self._stage.total:
            held_out = self._held_out(update)
        self._waiting.append((update, held_out))
        checkpoint = update.step % self._stage.inputs.config.checkpoint_every == 0
        # Reading losses waits for an accelerator.
        if checkpoint or update.step % updates_between_looks(update.logits.device) == 0:
            self._write()
        self._bar.update()
        if checkpoint:
            self.keep(self._stage.name, self._stage.optimizer.state())

    def keep(self, name: str, tensors: dict[str, Tensor]) -> None:
        """Put tensors aside, with the place in the metrics that belongs to them."""
        self._write()
        size = flush(self._file)
        self._folder.keep(name, tensors, metrics=size, seconds=self.seconds)

    def _held_out(self, update: Update) -> list[float | None]:
        """Measure the NLL of some held-out rows under every fit of the main strength."""
        inputs, plan = self._stage.inputs, self._stage.plan
        main = (0.0, inputs.config.lambda_reg)
        chosen = [i for i, fit in enumerate(plan) if abs(fit.lambda_reg) in main]
        gates = torch.sigmoid(update.logits[chosen]).cpu()
        rows = inputs.held_out.sample(WATCHED_ROWS, 0)
        scores = evaluate_open(self._stage.engine, rows, gates, EvaluationOptions())
        nlls = {i: score.nll for i, score in zip(chosen, scores, strict=True)}
        return [nlls.get(i) for i in range(len(plan))]

    def _write(self) -> None:
        """Write a line per fit for every update since the last time."""
        for update, held_out in self._waiting:
            losses, gates = update.losses.tolist(), torch.sigmoid(update.logits)
            for i, fit in enumerate(self._stage.plan):
                if math.isnan(losses[i]):
                    continue  # settled
                line: dict[str, Any] = {
                    "stage": fit.stage,
                    "lambda_reg": fit.lambda_reg,
                    "seed": fit.seed,
                    "step": update.step,
                    "loss": losses[i],
                    **count_gates(gates[i])._asdict(),
                    "lr": update.lr,
                }
                if held_out[i] is not None:
                    line["held_out_nll"] = held_out[i]
                self._file.write(json.dumps(line) + "\n")
        if self._waiting:
            running = [x for x in self._waiting[-1][0].losses.tolist() if not math.isnan(x)]
            mean = sum(running) / max(1, len(running))
            self._bar.set_status(f"loss {mean:.3f}, {len(running)} moving")
        self._waiting.clear()

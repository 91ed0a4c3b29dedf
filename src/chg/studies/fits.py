"""The fits of a study: G0 of every seed, then G+ and G- of all of them, side by side.

1. Every seed draws its own start; all see the same rows in the same order (METHOD.md, Fitting).
2. G+ and G- start from their seed's G0 and differ in the sign of the regulariser alone; further
   strengths of it are further fits of the same passes.
3. Every update of every fit is a line of `metrics.jsonl`. A checkpoint holds all that a run needs
   to go on to the same numbers.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from chg.config import FitConfig, StudyConfig
from chg.data import TokenData
from chg.engine import evaluate_gates, partial_forward
from chg.fitting import (
    EVALUATIONS,
    GateOptimizer,
    MicroBatch,
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

logger = logging.getLogger(__name__)

PUSHED_FINAL = 0.2
"""Share of the step size that is left at the end of G+ and G-."""
WATCHED_ROWS = 32
"""Held-out rows whose NLL is followed during a fit."""


@dataclass(frozen=True)
class StageFit:
    """One gate matrix: a stage, a seed, and the regulariser's strength with its sign."""

    stage: Stage
    seed: int
    lambda_reg: float


@dataclass(frozen=True)
class StudyInputs:
    """What all fits of a study share."""

    model: nn.Module
    rows: TokenData
    held_out: TokenData
    reference: Reference | None
    config: StudyConfig
    folder: StudyFolder
    show_progress: bool = True


@dataclass(frozen=True)
class StageFits:
    """The final logits of all fits, and what they took."""

    plan: tuple[StageFit, ...]
    logits: Float[Tensor, "fit layer head"]
    seconds: float

    def of(self, stage: Stage, strength: float) -> Float[Tensor, "seed layer head"]:
        """Logits of every seed, of one stage at one strength."""
        places = [
            i
            for i, fit in enumerate(self.plan)
            if fit.stage == stage and abs(fit.lambda_reg) == strength
        ]
        return self.logits[places]


def fit_initial(shared: StudyInputs) -> StageFits:
    """G0 of every seed."""
    config = shared.config
    plan = tuple(StageFit("initial", seed, 0.0) for seed in config.all_seeds)
    shape = gate_shape(shared.model, config.unit)
    start = torch.cat([starting_logits(replace(config, seed=fit.seed), shape) for fit in plan])
    return _fit("initial", shared, plan, start, Schedule(config.lr))


def fit_pushed(shared: StudyInputs, initial: StageFits) -> StageFits:
    """G+ and G- of every seed, at every strength."""
    config = shared.config
    stages: tuple[tuple[Stage, int], ...] = (("retention", -1), ("removal", 1))
    plan = tuple(
        StageFit(stage, seed, sign * strength)
        for strength in config.lambdas
        for stage, sign in stages
        for seed in config.all_seeds
    )
    start = initial.logits.repeat(len(plan) // len(initial.plan), 1, 1)
    return _fit("pushed", shared, plan, start, Schedule(config.lr_pushed, PUSHED_FINAL))


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
    shared: StudyInputs,
    plan: tuple[StageFit, ...],
    start: Tensor,
    schedule: Schedule,
) -> StageFits:
    """Run a stage, or what is left of it."""
    config, folder = shared.config, shared.folder
    done = folder.kept(f"{name}_done")
    if done is not None:
        return StageFits(plan, done[0]["logits"], done[1]["seconds"])
    optimiser = GateOptimizer(
        shared.model,
        start,
        config,
        lambdas=torch.tensor([fit.lambda_reg for fit in plan]),
        schedule=schedule,
        fits_per_pass=config.seeds_per_batch,
        settle=config.early_stop,
    )
    total = total_updates(_as_fit_config(config), len(shared.rows))
    before, size = 0.0, _metrics_size(folder, name)
    checkpoint = folder.kept(name)
    if checkpoint is not None:
        optimiser.restore(checkpoint[0])
        before, size = checkpoint[1]["seconds"], checkpoint[1]["metrics"]
    folder.cut_metrics(size)
    with _Record(name, shared, plan, optimiser, total, before) as record:
        with partial_forward(shared.model, config.recompute) as forward:
            loss = nll_loss(shared.model, shared.rows.pad_id, forward, shared.reference)
            optimiser.run(_updates(shared, total, optimiser.step), total, loss, record)
        logits = optimiser.logits_of_heads().cpu()
        record.keep(f"{name}_done", {"logits": logits})
    folder.drop(name)
    return StageFits(plan, logits, record.seconds)


def _as_fit_config(config: StudyConfig) -> FitConfig:
    """The part that chooses rows."""
    return FitConfig(
        seed=config.seed,
        batch_size=config.batch_size,
        grad_accum_steps=config.grad_accum_steps,
        epochs=config.epochs,
        max_steps=config.max_steps,
    )


def _updates(shared: StudyInputs, total: int, done: int) -> Iterator[list[MicroBatch]]:
    """The rows of the updates that are left."""
    if done == total:
        return iter(())
    return islice(update_batches(shared.rows, _as_fit_config(shared.config), total), done, None)


def _metrics_size(folder: StudyFolder, name: str) -> int:
    """Where the lines of a stage begin."""
    initial = folder.kept("initial_done") if name == "pushed" else None
    return 0 if initial is None else int(initial[1]["metrics"])


class _Record:
    """Follows a stage: progress bar, metrics, checkpoints. Called with every update."""

    def __init__(
        self,
        name: str,
        shared: StudyInputs,
        plan: tuple[StageFit, ...],
        optimiser: GateOptimizer,
        total: int,
        seconds_before: float,
    ) -> None:
        self._name, self._shared, self._plan = name, shared, plan
        self._optimiser, self._total = optimiser, total
        self._began = time.perf_counter() - seconds_before
        self._file = shared.folder.metrics.open("a", encoding="utf-8")
        what = {"initial": "fitting G0", "pushed": "fitting G+ and G-"}[name]
        self._what = f"{what}, {len(plan)} fits"
        self._bar = progress_bar(total, self._what, show=shared.show_progress)
        self._bar.update(optimiser.step)
        self._waiting: list[tuple[Update, list[float | None]]] = []

    def __enter__(self) -> _Record:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._bar.close()

    @property
    def seconds(self) -> float:
        """Of this stage so far, over all runs of it."""
        return time.perf_counter() - self._began

    def __call__(self, update: Update) -> None:
        held_out: list[float | None] = [None] * len(self._plan)
        every = max(1, self._total // EVALUATIONS)
        if update.step % every == 0 or update.step == self._total:
            held_out = self._held_out(update)
        self._waiting.append((update, held_out))
        checkpoint = update.step % self._shared.config.checkpoint_every == 0
        # Reading figures waits for an accelerator.
        if checkpoint or update.step % updates_between_looks(update.logits.device) == 0:
            self._write()
        self._bar.update()
        if self._bar.disable and update.step % every == 0:
            logger.info("%s, update %d of %d", self._what, update.step, self._total)
        if checkpoint:
            self.keep(self._name, self._optimiser.state())

    def keep(self, name: str, tensors: dict[str, Tensor]) -> None:
        """Put tensors aside, with the place in the metrics that belongs to them."""
        self._write()
        size = flush(self._file)
        self._shared.folder.keep(name, tensors, metrics=size, seconds=self.seconds)

    def _held_out(self, update: Update) -> list[float | None]:
        """NLL of some held-out rows under every fit of the main strength."""
        chosen = [
            i
            for i, fit in enumerate(self._plan)
            if abs(fit.lambda_reg) in (0.0, self._shared.config.lambda_reg)
        ]
        gates = torch.sigmoid(update.logits[chosen]).cpu()
        rows = self._shared.held_out.sample(WATCHED_ROWS, 0)
        scores = evaluate_gates(self._shared.model, rows, gates, reference=self._shared.reference)
        found = dict(zip(chosen, scores, strict=True))
        return [found[i].nll if i in found else None for i in range(len(self._plan))]

    def _write(self) -> None:
        """A line per fit for every update since the last time."""
        for update, held_out in self._waiting:
            losses, gates = update.losses.tolist(), torch.sigmoid(update.logits)
            for i, fit in enumerate(self._plan):
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
            self._bar.set_postfix_str(f"mean loss {mean:.3f}, {len(running)} moving", refresh=False)
        self._waiting.clear()

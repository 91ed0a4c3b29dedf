"""Waves: fits of some neighbouring seeds in one phase of a study, side by side.

A study's seeds are one wave, and seeds that join it later another. What a wave keeps in the folder:

1. `PHASE.FIRST.LAST`, the checkpoint of the update under way;
2. `....fall`, the fits before their step size begins to fall. A study that is to have more updates
   goes on from there, because up to there nothing depends on their number;
3. `....done`, the finished fits.

On a CPU no seed's numbers depend on which others run beside it: a pass holds fits of one seed,
unless the user says otherwise, and all else is done fit by fit. So seeds that joined later, or went
on, equal those of a study that had asked for them at once, byte for byte.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from chg.config import StudyConfig
from chg.data import TokenData
from chg.engine import Engine, open_engine
from chg.fitting import (
    GateOptimizer,
    MicroBatch,
    OptimizerOptions,
    Schedule,
    metric_loss,
    total_updates,
    update_batches,
)
from chg.gating import Reference
from chg.results import Stage
from chg.studies.folder import StudyFolder
from chg.studies.metrics import arrange_metrics
from chg.studies.record import WATCHED_ROWS, FitRecord, StageFit, Stopwatch, WatchedFits


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

    @cached_property
    def updates(self) -> int:
        """Updates of G+ and G-."""
        return total_updates(self.config, len(self.rows))


@dataclass(frozen=True)
class Phase:
    """Phase of a study: G0 of every seed, or G+ and G- from them."""

    name: Literal["initial", "pushed"]
    title: str
    kinds: tuple[tuple[Stage, float], ...]
    """Stage and signed strength of the fits of a seed."""
    total: int
    """Updates."""
    schedule: Schedule
    start: Float[Tensor, "seed layer head"]
    """Logits to start from, of every seed of the study."""
    base: int = 0
    """Updates of the fits that it starts from."""

    @property
    def stages(self) -> frozenset[Stage]:
        """Its stages."""
        return frozenset(stage for stage, _ in self.kinds)

    def plan(self, seeds: tuple[int, ...]) -> tuple[StageFit, ...]:
        """List the fits of some seeds, in the order of their matrices."""
        return tuple(StageFit(stage, seed, reg) for stage, reg in self.kinds for seed in seeds)


@dataclass(frozen=True)
class FittedWave:
    """Finished fits of a wave."""

    logits: Float[Tensor, "fit layer head"]
    earlier: Float[Tensor, "fit layer head"]
    """Logits a fifth of each fit's updates before its end."""
    seconds: float


def passes_by_seed(config: StudyConfig, device: torch.device) -> bool:
    """Tell if each seed has passes of its own.

    Matrix products on a CPU round differently with another number of rows, so what shares a pass
    there must not depend on which other seeds there are.
    """
    return config.seeds_per_batch is None and device.type == "cpu"


def waves_of(phase: Phase, inputs: StudyInputs) -> list[tuple[int, ...]]:
    """Find the seeds of every wave: those with something in the folder, then all others."""
    names = re.compile(rf"{phase.name}\.(-?\d+)\.(-?\d+)")
    found = {match.groups() for name in inputs.folder.names() if (match := names.match(name))}
    waves = [tuple(range(int(first), int(last) + 1)) for first, last in found]
    seen = {seed for wave in waves for seed in wave}
    rest = tuple(seed for seed in inputs.config.all_seeds if seed not in seen)
    return sorted([*waves, rest] if rest else waves)


@dataclass(frozen=True)
class Wave:
    """Fits of some neighbouring seeds, and their files."""

    phase: Phase
    inputs: StudyInputs
    seeds: tuple[int, ...]

    @property
    def name(self) -> str:
        """Name of its files."""
        return f"{self.phase.name}.{self.seeds[0]}.{self.seeds[-1]}"

    @property
    def updates_done(self) -> int:
        """Updates that need not be done again."""
        if self._done() is not None:
            return self.phase.total
        state, _ = self._begun()
        return 0 if state is None else int(state["step"])

    def fit(self) -> FittedWave:
        """Run the updates that are not done yet."""
        done = self._done()
        if done is None:
            self._run()
            done = self._done()
        assert done is not None
        self.inputs.folder.drop(self.name)
        tensors, notes = done
        return FittedWave(tensors["logits"], tensors["earlier"], notes["seconds"])

    def _done(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Read the finished fits, if they have as many updates as are wanted now."""
        kept = self.inputs.folder.kept(f"{self.name}.done")
        phase = self.phase
        wanted = (phase.total, phase.base)
        return kept if kept and (kept[1]["total"], kept[1]["base"]) == wanted else None

    def _begun(self) -> tuple[Mapping[str, Tensor] | None, float]:
        """Find the state to go on from, and the seconds that it took; None for the start."""
        phase, folder = self.phase, self.inputs.folder
        for name in (self.name, f"{self.name}.fall"):
            kept = folder.kept(name)
            if kept is None or kept[1]["base"] != phase.base:
                continue
            state, notes = kept
            before_fall = int(state["step"]) <= phase.schedule.before_fall(notes["total"])
            if before_fall or notes["total"] == phase.total:
                return state, notes["seconds"]
        return None, 0.0

    def _run(self) -> None:
        phase, inputs = self.phase, self.inputs
        config, folder = inputs.config, inputs.folder
        with open_engine(
            inputs.model,
            reference=inputs.reference,
            recompute=config.recompute,
            metric=config.metric,
        ) as engine:
            optimizer = self.optimizer(engine)
            state, before = self._begun()
            if state is not None:
                optimizer.restore(state)
            watch = Stopwatch(before)
            falls_after = phase.schedule.before_fall(phase.total)

            def checkpoint(step: int) -> None:
                names = [self.name] if step % config.checkpoint_every == 0 else []
                names += [f"{self.name}.fall"] if step == falls_after else []
                for name in names:
                    record.flush()
                    folder.keep(name, optimizer.state(), **self._notes(watch))

            fits = self._watched(engine)
            with FitRecord(fits, folder, checkpoint, optimizer.step) as record:
                loss = metric_loss(engine, inputs.rows.pad_id)
                optimizer.run(self.updates(optimizer.step), phase.total, loss, record)
                record.flush()
            if optimizer.step < falls_after:  # all have settled, for any number of updates
                settled = optimizer.state() | {"step": torch.tensor(falls_after)}
                folder.keep(f"{self.name}.fall", settled, **self._notes(watch))
            logits, earlier = optimizer.logits_of_heads(), optimizer.earlier_logits()
            final = {"logits": logits.cpu(), "earlier": earlier.cpu()}
            folder.keep(f"{self.name}.done", final, **self._notes(watch))

    def optimizer(self, engine: Engine) -> GateOptimizer:
        """Make the optimizer of its fits, at their start."""
        phase, config = self.phase, self.inputs.config
        plan = phase.plan(self.seeds)
        seeds = torch.tensor([fit.seed for fit in plan])
        options = OptimizerOptions(
            lambdas=torch.tensor([fit.lambda_reg for fit in plan]),
            schedule=phase.schedule,
            fits_per_pass=config.seeds_per_batch,
            groups=seeds if passes_by_seed(config, engine.device) else None,
            settle=config.early_stop,
        )
        places = [config.all_seeds.index(seed) for seed in self.seeds]
        start = phase.start[places].repeat(len(phase.kinds), 1, 1)
        return GateOptimizer(engine, start, config, options)

    def updates(self, done: int) -> Iterator[list[MicroBatch]]:
        """Yield the rows of the updates that are left."""
        inputs, total = self.inputs, self.phase.total
        if done >= total:
            return iter(())
        return islice(update_batches(inputs.rows, inputs.config, total), done, None)

    def _watched(self, engine: Engine) -> WatchedFits:
        inputs, plan = self.inputs, self.phase.plan(self.seeds)
        return WatchedFits(
            plan=plan,
            engine=engine,
            rows=inputs.held_out.sample(WATCHED_ROWS, 0),
            main=inputs.config.lambda_reg,
            total=self.phase.total,
            description=f"fitting {self.phase.title}, {len(plan)} fits",
            show_progress=inputs.show_progress,
        )

    def _notes(self, watch: Stopwatch) -> dict[str, Any]:
        return {"total": self.phase.total, "base": self.phase.base, "seconds": watch.seconds}


def fit_waves(phase: Phase, inputs: StudyInputs) -> FittedWave:
    """Run what is not done of all waves, and put their fits in the order of the seeds."""
    waves = [Wave(phase, inputs, seeds) for seeds in waves_of(phase, inputs)]
    fitted = []
    for wave in waves:
        ends = {seed: other.updates_done for other in waves for seed in other.seeds}
        arrange_metrics(inputs.folder.metrics, phase.stages, ends)
        fitted.append(wave.fit())
    arrange_metrics(
        inputs.folder.metrics, phase.stages, dict.fromkeys(inputs.config.all_seeds, phase.total)
    )
    kinds = len(phase.kinds)
    logits, earlier = (
        torch.cat([part.unflatten(0, (kinds, -1)) for part in parts], dim=1).flatten(0, 1)
        for parts in ([wave.logits for wave in fitted], [wave.earlier for wave in fitted])
    )
    return FittedWave(logits, earlier, sum(wave.seconds for wave in fitted))

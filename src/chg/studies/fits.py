"""Fits of a study: G0 of every seed, then G+ and G- of all of them, side by side (`waves.py`).

1. Every seed draws its own start; all see the same rows in the same order (docs/method.md#fitting).
2. G+ and G- start from their seed's G0 and differ in the sign of the regularizer alone; further
   strengths of it are further fits of the same passes.
3. The step size is full at first and falls over the last updates, and G0 has updates of its own
   number (`--initial_steps`). So a study that goes on to more updates does again only what would
   have been different (docs/method.md#going-on).
4. Every update of every fit is a line of `metrics.jsonl`. A checkpoint holds all that a run needs
   to go on to the same numbers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from chg.config import StudyConfig
from chg.fitting import Schedule, starting_logits
from chg.models import gate_shape
from chg.results import LogitsOfStudy, Stage
from chg.studies.record import StageFit
from chg.studies.waves import Phase, StudyInputs, fit_waves


@dataclass(frozen=True)
class StageFits:
    """Final logits of all fits of a phase, and the seconds that they took."""

    plan: tuple[StageFit, ...]
    logits: Float[Tensor, "fit layer head"]
    earlier: Float[Tensor, "fit layer head"]
    """Logits a fifth of each fit's updates before its end."""
    seconds: float

    def of(self, stage: Stage, strength: float) -> Float[Tensor, "seed layer head"]:
        """Select the logits of every seed, of one stage at one strength."""
        return self.logits[self._places(stage, strength)]

    def earlier_of(self, stage: Stage, strength: float) -> Float[Tensor, "seed layer head"]:
        """Select the earlier logits in the same way."""
        return self.earlier[self._places(stage, strength)]

    def _places(self, stage: Stage, strength: float) -> list[int]:
        return [
            i
            for i, fit in enumerate(self.plan)
            if fit.stage == stage and abs(fit.lambda_reg) == strength
        ]


def fit_initial(inputs: StudyInputs) -> StageFits:
    """Fit G0 of every seed."""
    return _fit(initial_phase(inputs), inputs)


def fit_pushed(inputs: StudyInputs, initial: StageFits) -> StageFits:
    """Fit G+ and G- of every seed, at every strength."""
    return _fit(pushed_phase(inputs, initial.logits), inputs)


def initial_phase(inputs: StudyInputs) -> Phase:
    """Make the phase of G0, from starts drawn by every seed."""
    config = inputs.config
    shape = gate_shape(inputs.model, config.unit)
    starts = [starting_logits(replace(config, seed=seed), shape) for seed in config.all_seeds]
    return Phase(
        name="initial",
        title="G0",
        kinds=(("initial", 0.0),),
        total=updates_of_initial(inputs),
        schedule=Schedule(config.lr, fall=config.recipe_settings.fall),
        start=torch.cat(starts),
    )


def pushed_phase(inputs: StudyInputs, start: Float[Tensor, "seed layer head"]) -> Phase:
    """Make the phase of G+ and G-, from the G0 of every seed."""
    config = inputs.config
    stages: tuple[tuple[Stage, int], ...] = (("retention", -1), ("removal", 1))
    return Phase(
        name="pushed",
        title="G+ and G-",
        kinds=tuple((stage, sign * one) for one in config.lambdas for stage, sign in stages),
        total=inputs.updates,
        schedule=Schedule(
            config.lr_pushed, config.recipe_settings.final, config.recipe_settings.fall
        ),
        start=start,
        base=updates_of_initial(inputs),
    )


def updates_of_initial(inputs: StudyInputs) -> int:
    """Count the updates of G0: the start of G+ and G-, which stays when they get more."""
    return min(inputs.updates, inputs.config.initial_steps)


def logits_of_study(initial: StageFits, pushed: StageFits, config: StudyConfig) -> LogitsOfStudy:
    """Gather the logits of all stages, at the study's own strength and at every other."""
    main: dict[Stage, Tensor] = {"initial": initial.logits}
    earlier: dict[Stage, Tensor] = {"initial": initial.earlier}
    path: dict[Stage, Tensor] = {}
    stages: tuple[Stage, ...] = ("retention", "removal")
    for stage in stages:
        main[stage] = pushed.of(stage, config.lambda_reg)
        earlier[stage] = pushed.earlier_of(stage, config.lambda_reg)
        if len(config.lambdas) > 1:
            path[stage] = torch.stack([pushed.of(stage, one) for one in config.lambdas])
    return LogitsOfStudy(main, path, earlier)


def _fit(phase: Phase, inputs: StudyInputs) -> StageFits:
    done = fit_waves(phase, inputs)
    plan = phase.plan(inputs.config.all_seeds)
    return StageFits(plan, done.logits, done.earlier, done.seconds)

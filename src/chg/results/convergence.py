"""Convergence of a study's fits: do readings still change in the last fifth of their updates?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from chg.config import Stage, StudyConfig
from chg.results.roles import MOVED
from chg.results.stages import STAGE_NAMES, STAGES, LogitsOfStudy

MOVING_ABOVE = 0.02
"""Share of heads that may change their reading at the end of a fit that has converged."""


@dataclass(frozen=True)
class FitMotion:
    """Motion of one fit over the last fifth of its own updates."""

    stage: Stage
    seed: int
    changed: float
    """Share of heads that went from one of low, between and high to another, by 0.1 or more."""
    drift: float
    """Change of the mean gate."""

    @property
    def moving(self) -> bool:
        """True if more heads changed than in a fit that has converged."""
        return self.changed > MOVING_ABOVE


@dataclass(frozen=True)
class Convergence:
    """Motion of all fits of a study at its own strength of regularization."""

    fits: tuple[FitMotion, ...]
    """Every seed of every stage; empty where the study did not keep what is needed."""
    max_steps: int | None
    """Updates of a fit at most, as the study was told."""

    @property
    def moving(self) -> int:
        """Count the fits that are still moving."""
        return sum(fit.moving for fit in self.fits)

    @property
    def sentence(self) -> str:
        """Say how many fits are still moving, and what to do."""
        if not self.fits:
            return "The study did not keep what would tell if its fits have converged."
        total = len(self.fits)
        verb = "is" if self.moving == 1 else "are"
        if not self.moving:
            return (
                f"All {total} fits have converged: at most {MOVING_ABOVE:.0%} of the heads of each "
                "changed their reading in the last fifth of its updates."
            )
        by_stage = ", ".join(
            f"{count} of {STAGE_NAMES[stage].short}"
            for stage in STAGES
            if (count := sum(fit.moving and fit.stage == stage for fit in self.fits))
        )
        return (
            f"{self.moving} of {total} fits {verb} still moving ({by_stage}): more than "
            f"{MOVING_ABOVE:.0%} of the heads changed their reading in the last fifth of the "
            f"updates. {self._advice}"
        )

    @property
    def _advice(self) -> str:
        """Say what to do about fits that are still moving."""
        if all(fit.stage == "initial" for fit in self.fits if fit.moving):
            return "G0 is only where G+ and G- start, and roles are read from those."
        steps = "N" if self.max_steps is None else 2 * self.max_steps
        return f"Go on with chg study --out DIR --resume --max_steps {steps}."

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        fits = [{**asdict(fit), "moving": fit.moving} for fit in self.fits]
        return {
            "fits": fits,
            "max_steps": self.max_steps,
            "moving": self.moving,
            "of": len(fits),
            "sentence": self.sentence,
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any] | None) -> Convergence:
        """Read what `to_json` made; of a study without it, one without fits."""
        content = content or {}
        names = ("stage", "seed", "changed", "drift")
        fits = tuple(
            FitMotion(**{name: one[name] for name in names}) for one in content.get("fits", ())
        )
        return cls(fits, content.get("max_steps"))


def read_convergence(logits: LogitsOfStudy, config: StudyConfig) -> Convergence:
    """Compare the gates of every fit with those a fifth of its updates before its end."""
    fits = []
    for stage in STAGES:
        if stage not in logits.earlier:
            continue
        before, after = (torch.sigmoid(one[stage]) for one in (logits.earlier, logits.main))
        for seed, earlier, final in zip(config.all_seeds, before, after, strict=True):
            exists = final.isfinite()
            earlier, final = earlier[exists], final[exists]
            differs = _reading(earlier, config) != _reading(final, config)
            differs &= (final - earlier).abs() >= MOVED  # not one that rests at a threshold
            changed = float(np.mean(differs.numpy())) if len(final) else 0.0
            drift = float(final.double().mean() - earlier.double().mean())
            fits.append(FitMotion(stage, seed, changed, drift))
    return Convergence(tuple(fits), config.max_steps)


def _reading(gates: Tensor, config: StudyConfig) -> Tensor:
    """Read gates as low (-1), between (0) or high (1)."""
    return (gates > config.open_above).int() - (gates < config.closed_below).int()

"""Recipes of a study: settings of its fits that were measured together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Recipe = Literal["standard", "paper"]
"""Settings of fits that go together; each can be given by itself as well.

standard: five starts and few updates of 8 rows. paper: as published, ten starts and three stages of
500 updates of 64 rows, 44 times as many passes."""


@dataclass(frozen=True)
class RecipeSettings:
    """Settings that a recipe gives, unless they are given themselves."""

    seeds: int
    initial_steps: int
    max_steps: int
    batch_size: int
    lr: float
    lr_pushed: float
    gate_init: str
    paper_clip: bool
    early_stop: bool
    fall: float
    """Share of the updates, the last ones, over which the step size falls. No setting by itself."""
    final: float
    """Share of the step size of G+ and G- that is left at the end. Small, so that gates which rest
    near a threshold are not read by the noise of the last rows. No setting by itself."""


RECIPES: Mapping[Recipe, RecipeSettings] = {
    "standard": RecipeSettings(
        seeds=5,
        initial_steps=50,
        max_steps=250,
        batch_size=8,
        lr=0.025,
        lr_pushed=0.0625,
        gate_init="random",
        paper_clip=False,
        early_stop=True,
        fall=0.4,
        final=0.05,
    ),
    "paper": RecipeSettings(  # appendix 6.2; rates as shares of the range of logits, 8
        seeds=10,
        initial_steps=500,
        max_steps=500,
        batch_size=64,
        lr=0.0125,
        lr_pushed=0.0625,
        gate_init="uniform",
        paper_clip=True,
        early_stop=False,
        fall=1.0,
        final=0.2,
    ),
}

FROM_RECIPE: Any = ...
"""Default of a setting that its recipe gives; None is a value of some."""

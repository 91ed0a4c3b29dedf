"""Fits and ablations of planted heads that several checks share, computed once per self-test."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chg.ablation import ablate_heads
from chg.fitting import ContrastResult, fit_contrastive, fit_gates
from chg.report import Study
from chg.results import classify_heads
from chg.selftest.planted import HELPFUL, copy_rows, planted_model, redundant_model
from chg.studies import study

SEEDS = 6
"""Starts of the study of the model with duplicates."""
RETAINED, FORGOTTEN = range(0, 8), range(8, 16)
"""Tokens that contrastive gates keep and lose, each range read by another planted head."""


class Fixtures:
    """Results that checks share, each computed when the first check asks for it."""

    @cached_property
    def scores(self) -> NDArray[np.float64]:
        """Ablation scores of the planted model, `[layer, head]`, in nats per token."""
        return ablate_heads(planted_model(), copy_rows(64), show_progress=False).scores

    @cached_property
    def roles(self) -> NDArray[Any]:
        """Roles that three fits with default settings give the planted heads, `[layer, head]`."""
        model, data = planted_model(), copy_rows(256)
        initial = fit_gates(model, data, show_progress=False).gates
        retention, removal = (
            fit_gates(model, data, init=initial, lambda_reg=pressure, show_progress=False).gates
            for pressure in (-0.1, 0.1)
        )
        return classify_heads(retention.values, removal.values).roles

    @cached_property
    def redundant_scores(self) -> NDArray[np.float64]:
        """Ablation scores of the model with duplicates, `[layer, head]`."""
        return ablate_heads(redundant_model(), copy_rows(64), show_progress=False).scores

    @cached_property
    def redundant_study(self) -> Study:
        """Study of the model with duplicates, from several starts."""
        return study(
            redundant_model(),
            copy_rows(64),
            held_out=copy_rows(32, 1),
            seeds=SEEDS,
            seed=0,
            max_steps=80,
            check_seeds=0,
            show_progress=False,
        )

    @cached_property
    def contrast(self) -> ContrastResult:
        """Contrastive fit that keeps one half of the tokens and loses the other."""
        retain, forget = copy_rows(64, 0, RETAINED), copy_rows(64, 1, FORGOTTEN)
        return fit_contrastive(
            planted_model({**HELPFUL}),
            retain,
            forget,
            max_steps=100,
            held_out_retain=retain,
            held_out_forget=forget,
            show_progress=False,
        )

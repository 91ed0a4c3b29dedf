"""What several checks look at, computed once per self-test: fits and ablations of planted heads."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chg.ablation import ablate_heads
from chg.builtin.planted import HELPFUL, planted_model, redundant_model
from chg.contrastive import ContrastResult, fit_contrastive
from chg.data.planted import copy_rows
from chg.data.tokens import TokenData
from chg.fitting import fit_gates
from chg.taxonomy import classify_heads

SEEDS = range(6)
"""Starts of the fits that meet duplicates."""
RETAINED, FORGOTTEN = range(0, 8), range(8, 16)
"""Tokens that contrastive gates keep and lose; a planted head of its own reads each."""


class Workbench:
    """Results that checks share; each is computed when the first of them asks."""

    @cached_property
    def scores(self) -> NDArray[np.float64]:
        """`[layer, head]`: ablation scores of the planted model, in nats per token."""
        return ablate_heads(planted_model(), copy_rows(64), show_progress=False).scores

    @cached_property
    def roles(self) -> NDArray[Any]:
        """`[layer, head]`: roles that the three fits give the planted heads, with the defaults."""
        return _roles(planted_model(), copy_rows(256), seed=0, start=192, then=192)

    @cached_property
    def redundant_scores(self) -> NDArray[np.float64]:
        """`[layer, head]`: ablation scores where two heads are duplicates."""
        return ablate_heads(redundant_model(), copy_rows(64), show_progress=False).scores

    @cached_property
    def redundant_roles(self) -> NDArray[Any]:
        """`[seed, layer, head]`: roles where two heads are duplicates."""
        model, data = redundant_model(), copy_rows(64)
        settings: dict[str, Any] = {"start": 20, "then": 100, "lr": 0.05, "batch_size": 16}
        return np.stack([_roles(model, data, seed=seed, **settings) for seed in SEEDS])

    @cached_property
    def contrast(self) -> ContrastResult:
        """Gates that keep one half of the tokens and lose the other."""
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


def _roles(
    model: Any, data: TokenData, *, seed: int, start: int, then: int, **settings: Any
) -> NDArray[Any]:
    """`[layer, head]`: roles from a retention and a removal fit that start from a third."""
    settings = {**settings, "seed": seed, "show_progress": False}
    initial = fit_gates(model, data, max_steps=start, **settings).gates
    retention, removal = (
        fit_gates(model, data, init=initial, lambda_reg=pressure, max_steps=then, **settings)
        for pressure in (-0.1, 0.1)
    )
    return classify_heads(retention.gates.values, removal.gates.values).roles

"""A few timed passes of every kind that a study has."""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor

from chg.config import StudyConfig
from chg.data import TokenData
from chg.engine import PATTERN_TOKENS, Engine, EvaluationOptions, evaluate_open
from chg.fitting import (
    GateOptimizer,
    OptimizerOptions,
    Update,
    metric_loss,
    starting_logits,
    update_batches,
)
from chg.studies.waves import passes_by_seed

TIMED_ROWS = (8, 32)
"""Held-out rows that gate matrices are timed on, in a slow model and in a fast one."""
FAST = 0.01
"""Seconds of a row in a fast model."""
TIMED_MATRICES = 4
TIMED_HEADS = 2
"""Heads of each layer that are ablated on them; fewer fill no pass."""
UPDATES_LOOKED_AT = 50
"""Updates whose rows stand for all."""


@dataclass(frozen=True)
class Times:
    """Seconds of parts of a study."""

    initial: float
    """An update of all G0."""
    pushed: float
    """An update of all G+ and G-."""
    alone: float
    """A held-out row under a gate matrix, as fits are watched."""
    together: float
    """The same among others."""
    ablated: float
    """The same with all gates open but one."""
    patterns: float
    """As many tokens as attention patterns are measured on."""


def time_passes(engine: Engine, rows: TokenData, held_out: TokenData, config: StudyConfig) -> Times:
    """Time a few passes of every kind, after some to warm up."""
    exists = engine.exists(config.unit)
    gates = torch.rand(TIMED_MATRICES, *exists.shape)
    few = held_out.sample(TIMED_ROWS[0], 0)
    _seconds_of_rows(engine, few.sample(1, 0), gates[:1])
    alone = _seconds_of_rows(engine, few, gates[:1])
    many = held_out.sample(TIMED_ROWS[alone < FAST], 0)
    updates = {}
    for kinds in (1, 2 * len(config.lambdas)):
        fits = kinds * config.seeds
        together = kinds if passes_by_seed(config, engine.device) else fits
        shared = min(together, _fits_of_a_pass(engine, rows, config))
        if shared not in updates:
            updates[shared] = _seconds_of_update(engine, rows, config, shared) / shared
        pushed = updates[shared] * fits
    return Times(
        initial=next(iter(updates.values())) * config.seeds,
        pushed=pushed,
        alone=alone,
        together=min(alone, _seconds_of_rows(engine, many, gates)),
        ablated=_seconds_of_rows(engine, many, _ablated(exists)),
        patterns=alone * PATTERN_TOKENS * len(few) / sum(len(row.ids) for row in few.rows),
    )


def _fits_of_a_pass(engine: Engine, rows: TokenData, config: StudyConfig) -> int:
    """Count the fits that share a pass over rows of the first update."""
    (update,) = islice(update_batches(rows, config, 1), 1)
    fill = max(1, engine.token_budget // max(part.tokens for part in update))
    return config.seeds_per_batch or fill


def _seconds_of_update(engine: Engine, rows: TokenData, config: StudyConfig, fits: int) -> float:
    """Time an update of some fits in one pass, scaled to the length of all rows."""
    updates = list(update_batches(rows, config, UPDATES_LOOKED_AT))
    sizes = [sum(part.tokens for part in update) for update in updates]
    start = starting_logits(config, engine.shape(config.unit), fits)
    optimizer = GateOptimizer(engine, start, config, OptimizerOptions(fits_per_pass=fits))
    clock = _Clock(engine.device)
    optimizer.run(updates[:2], 2, metric_loss(engine, rows.pad_id), clock)
    first, second = clock.times
    return (second - first) * sum(sizes) / len(sizes) / sizes[1]


class _Clock:
    """Times at which updates were done."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.times: list[float] = []

    def __call__(self, _: Update) -> None:
        _wait_for(self._device)
        self.times.append(time.perf_counter())


def _seconds_of_rows(engine: Engine, rows: TokenData, gates: Tensor) -> float:
    """Time gate matrices on rows; seconds of one of them on one."""
    _wait_for(engine.device)
    began = time.perf_counter()
    evaluate_open(engine, rows, list(gates), EvaluationOptions())
    _wait_for(engine.device)
    return (time.perf_counter() - began) / (len(gates) * len(rows))


def _ablated(exists: Tensor) -> Tensor:
    """Make gate matrices with one head closed each, heads spread evenly over all layers."""
    heads = exists.nonzero()
    wanted = min(len(heads), TIMED_HEADS * len(exists))
    layer, head = heads[torch.linspace(0, len(heads) - 1, wanted).round().long()].T
    gates = torch.ones(wanted, *exists.shape)
    gates[torch.arange(wanted), layer, head] = 0
    return gates


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)

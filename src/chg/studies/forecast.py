"""Forecast of a study: how long it takes here, and how much memory, from a few timed passes.

1. Fits: three updates of each phase with as many fits as share a pass, the first of them to warm
   up, times the passes of an update and the updates.
2. Measuring: a few gate matrices on a few held-out rows, times all of them.
3. Ablation: a few heads, spread over all layers, on the same rows, times all heads.

Fits that settle stop earlier, so the time is about the longest that it can be.
"""

from __future__ import annotations

import logging
import math
import sys
import time
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor, nn

from chg.config import StudyConfig
from chg.data import TokenData
from chg.engine import Engine, EvaluationOptions, evaluate_open, open_engine
from chg.fitting import (
    GateOptimizer,
    OptimizerOptions,
    Update,
    nll_loss,
    starting_logits,
    total_updates,
    update_batches,
)
from chg.gating import Reference
from chg.results import SCORES
from chg.studies.fits import INITIAL_UPDATES
from chg.studies.record import WATCHED_EVERY, WATCHED_ROWS
from chg.studies.waves import fits_per_pass

logger = logging.getLogger(__name__)

LONG = 6 * 3600.0
"""Seconds beyond which a study says how to make it shorter."""
TIMED_UPDATES = 3
TIMED_ROWS = 32
"""Held-out rows that a few matrices are timed on; as many as are evaluated in one piece."""
TIMED_MATRICES = 8
UPDATES_LOOKED_AT = 50
"""Updates whose rows stand for all."""
SHORT = {"seeds": 3, "max_steps": 200, "eval_rows": 32}
"""Settings of a study for a first look."""
ESTIMATE_POINTS = 4
"""Passes over the held-out rows of the estimate from gradients."""


@dataclass(frozen=True)
class Forecast:
    """Time and memory of a whole study, about."""

    config: StudyConfig
    updates: int
    """Updates of G+ and G-."""
    fits: float
    """Seconds; as all others."""
    measuring: float
    ablation: float
    check: float
    memory: int | None
    """Bytes at the highest, the model's own among them; None where that cannot be asked for."""

    @property
    def seconds(self) -> float:
        """Seconds of all of it."""
        return self.fits + self.measuring + self.ablation + self.check

    @property
    def sentence(self) -> str:
        """Say how long it takes, and how much memory."""
        parts = {
            "fits": self.fits,
            "measuring them": self.measuring,
            "ablation": self.ablation,
            "causal check": self.check,
        }
        listed = ", ".join(f"{name} {duration(part)}" for name, part in parts.items() if part)
        memory = "" if self.memory is None else f"; about {self.memory / 1e9:.1f} GB of memory"
        return f"the whole study takes about {duration(self.seconds)} here ({listed}){memory}"

    @property
    def text(self) -> str:
        """Say it in one line, with advice where it is long."""
        return self.sentence if self.advice is None else f"{self.sentence}; {self.advice}"

    @property
    def advice(self) -> str | None:
        """Say how to make a long study shorter; None for one that is not long."""
        if self.seconds <= LONG:
            return None
        has = {
            "seeds": self.config.seeds,
            "max_steps": self.updates,
            "eval_rows": self.config.eval_rows,
        }
        share = {name: min(1.0, short / has[name]) for name, short in SHORT.items()}
        fits = self.fits * share["seeds"] * share["max_steps"]
        measured = self.measuring * share["seeds"] + self.ablation + self.check
        flags = " ".join(f"--{name} {short}" for name, short in SHORT.items() if share[name] < 1)
        first = ""
        if flags:
            less = duration(fits + measured * share["eval_rows"])
            first = f"for a first look, about {less}: {flags}; "
        return f"{first}--check_seeds 0 leaves the check out; a GPU (--device cuda) is faster"


def forecast(
    model: nn.Module,
    rows: TokenData,
    held_out: TokenData,
    config: StudyConfig,
    reference: Reference | None = None,
) -> Forecast:
    """Time a few passes of a study, and count the rest.

    Args:
        model: the model; left as it is.
        rows: rows to fit on.
        held_out: rows to measure on.
        config: settings of the study.
        reference: values that heads are replaced by, in place of zeros.
    """
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    updates, kinds = total_updates(config, len(rows)), 2 * len(config.lambdas)
    with open_engine(model, reference=reference, recompute=config.recompute) as engine:
        initial, pushed = (_seconds_of_update(engine, rows, config, n) for n in (1, kinds))
        gates = torch.rand(TIMED_MATRICES, *engine.shape(config.unit))
        exists = engine.exists(config.unit)
        # Per gate matrix and held-out row, one at a time as fits are watched, and together.
        alone = _seconds_of_rows(engine, held_out, gates[:1])
        together = min(alone, _seconds_of_rows(engine, held_out, gates))
        heads = _spread_heads(exists)
        per_head = _seconds_of_rows(engine, held_out, _ablated(exists, heads))
    watched = alone * min(WATCHED_ROWS, len(held_out)) / WATCHED_EVERY * config.seeds
    few = min(updates, INITIAL_UPDATES)
    fits = few * (initial + watched) + updates * (pushed + 2 * watched)
    ablation = per_head * int(exists.sum()) * len(held_out)
    passes = ESTIMATE_POINTS * len(held_out) / (config.batch_size * config.grad_accum_steps)
    slopes = initial / config.seeds * passes
    matrices = len(SCORES) * 2 * min(config.check_seeds, config.seeds)
    toggled = matrices * min(config.check_points + 1, int(exists.sum()))
    return Forecast(
        config=config,
        updates=updates,
        fits=fits,
        measuring=together * 3 * config.seeds * len(held_out),
        ablation=ablation + slopes,
        check=(together * toggled * len(held_out) + ablation) if config.check_seeds else 0.0,
        memory=_peak_memory(),
    )


def tell(made: Forecast) -> None:
    """Log the forecast; where it is long, as a warning."""
    logger.log(logging.INFO if made.advice is None else logging.WARNING, "%s", made.text)


def duration(seconds: float) -> str:
    """Name a time in the unit that suits it."""
    if seconds < 90:
        return f"{math.ceil(seconds)} s"
    minutes = seconds / 60
    if minutes < 90:
        return f"{minutes:.0f} min"
    hours = minutes / 60
    return f"{hours:.1f} h" if hours < 10 else f"{hours:.0f} h"


def _seconds_of_update(engine: Engine, rows: TokenData, config: StudyConfig, kinds: int) -> float:
    """Time an update of so many fits of every seed."""
    fits = kinds * config.seeds
    updates = list(islice(update_batches(rows, config, UPDATES_LOOKED_AT), UPDATES_LOOKED_AT))
    sizes = [sum(part.tokens for part in update) for update in updates]
    fill = max(1, engine.token_budget // max(part.tokens for part in updates[0]))
    together = min(fits, fits_per_pass(config, engine.device) or fill)
    start = starting_logits(config, engine.shape(config.unit), together)
    options = OptimizerOptions(fits_per_pass=together)
    optimizer = GateOptimizer(engine, start, config, options)
    clock = _Clock(engine.device)
    timed = updates[:TIMED_UPDATES]
    optimizer.run(timed, len(timed), nll_loss(engine, rows.pad_id), clock)
    measured = sizes[1:TIMED_UPDATES]
    each = (clock.times[-1] - clock.times[0]) / len(measured)
    scale = (sum(sizes) / len(sizes)) / (sum(measured) / len(measured))
    return each * scale * fits / together


class _Clock:
    """Times at which updates were done."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.times: list[float] = []

    def __call__(self, _: Update) -> None:
        _wait_for(self._device)
        self.times.append(time.perf_counter())


def _seconds_of_rows(engine: Engine, held_out: TokenData, gates: Tensor) -> float:
    """Time a gate matrix on a row, in the middle of others; after a run to warm up."""
    rows = held_out.sample(TIMED_ROWS, 0)
    for data in (rows.sample(min(2, len(rows)), 0), rows):
        _wait_for(engine.device)
        began = time.perf_counter()
        evaluate_open(engine, data, list(gates), EvaluationOptions())
        _wait_for(engine.device)
    return (time.perf_counter() - began) / (len(gates) * len(rows))


def _spread_heads(exists: Tensor) -> Tensor:
    """Choose heads spread evenly over all layers, at least one of each."""
    heads = exists.nonzero()
    wanted = min(len(heads), max(2 * TIMED_MATRICES, len(exists)))
    return heads[torch.linspace(0, len(heads) - 1, wanted).round().long()]


def _ablated(exists: Tensor, heads: Tensor) -> Tensor:
    """Make a gate matrix per head with that head closed alone."""
    gates = torch.ones(len(heads), *exists.shape)
    gates[torch.arange(len(heads)), heads[:, 0], heads[:, 1]] = 0
    return gates


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _peak_memory() -> int | None:
    """Bytes at the highest so far: of the GPU where there is one, otherwise of the process."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak) * (1 if sys.platform == "darwin" else 1024)

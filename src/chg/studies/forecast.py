"""Forecast of a study: how long it takes here, and how much memory, from a few timed passes.

1. Fits: two updates of as many fits as share a pass in each phase, the first to warm up, times the
   passes of an update and the updates.
2. Measuring: a few gate matrices on a few held-out rows, times all of them.
3. Ablation: a few heads, spread over all layers, on such rows, times all heads.

4. Attention patterns: as many tokens of held-out rows.

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
from jaxtyping import Bool
from torch import Tensor, nn

from chg.ablation import RANDOM_ORDERS, STUDY_RANKINGS, affordable
from chg.config import StudyConfig
from chg.data import TokenData
from chg.engine import (
    ESTIMATE_POINTS,
    PATTERN_TOKENS,
    Engine,
    EvaluationOptions,
    evaluate_open,
    open_engine,
)
from chg.fitting import (
    GateOptimizer,
    OptimizerOptions,
    Update,
    metric_loss,
    starting_logits,
    total_updates,
    update_batches,
)
from chg.gating import Reference
from chg.results import MOST_PAIRS, SCORES, STAGES, sizes_of
from chg.studies.proofs import half_of
from chg.studies.record import WATCHED_EVERY, WATCHED_ROWS
from chg.studies.waves import passes_by_seed

logger = logging.getLogger(__name__)

LONG = 6 * 3600.0
"""Seconds beyond which a study says how to make it shorter."""
TIMED_ROWS = (8, 32)
"""Held-out rows that gate matrices are timed on, in a slow model and in a fast one."""
FAST = 0.01
"""Seconds of a row in a fast model."""
TIMED_MATRICES = 4
TIMED_HEADS = 2
"""Heads of each layer that are ablated on them; fewer fill no pass."""
UPDATES_LOOKED_AT = 50
"""Updates whose rows stand for all."""
SHORT = {"seeds": 2, "max_steps": 100, "eval_rows": 32}
"""Settings of a study for a first look."""


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
    ranking: float
    """The budgeted fit, and the curves of faithfulness."""
    patterns: float
    memory: int | None
    """Bytes at the highest, the model's own among them; None where that cannot be asked for."""

    @property
    def seconds(self) -> float:
        """Seconds of all of it."""
        proofs = self.measuring + self.ablation + self.check
        return self.fits + proofs + self.ranking + self.patterns

    @property
    def sentence(self) -> str:
        """Say how long it takes, and how much memory."""
        parts = {
            "fits": self.fits,
            "measuring them": self.measuring,
            "ablation": self.ablation,
            "causal check": self.check,
            "ranking": self.ranking,
            "attention patterns": self.patterns,
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
            less = duration(fits + measured * share["eval_rows"] + self.ranking + self.patterns)
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
    took, exists = _try_out(model, rows, held_out, config, reference)
    updates, measured, heads = total_updates(config, len(rows)), len(held_out), int(exists.sum())
    few = min(updates, config.initial_steps)
    watched = took.alone * min(WATCHED_ROWS, measured) / WATCHED_EVERY * config.seeds
    fits = few * (took.initial + watched) + updates * (took.pushed + 2 * watched)
    ablation = took.ablated * heads * measured
    batches = measured / (config.batch_size * config.grad_accum_steps)
    slopes = took.initial / config.seeds * len(ESTIMATE_POINTS) * batches
    pairs = min(MOST_PAIRS, heads) * (config.seeds > 1)  # about: gates propose them
    seeds, points = affordable(exists, min(config.check_seeds, config.seeds), config.check_points)
    from_retention = took.ablated * heads * half_of(measured)
    toggled = took.together * len(SCORES) * 2 * seeds * points * measured
    return Forecast(
        config=config,
        updates=updates,
        fits=fits,
        measuring=took.together * len(STAGES) * config.seeds * measured,
        ablation=ablation + slopes + took.ablated * pairs * measured,
        check=toggled + from_retention if config.check_seeds else 0.0,
        ranking=_ranking(took, config, heads, measured),
        patterns=took.patterns if config.patterns else 0.0,
        memory=_peak_memory(),
    )


def _ranking(took: _Times, config: StudyConfig, heads: int, measured: int) -> float:
    """Seconds of the budgeted fit, whose every update is that of one fit, and of its proof."""
    if not config.budget_steps:
        return 0.0
    fit = config.budget_steps * took.initial / config.seeds
    matrices = (len(sizes_of(heads)) - 2) * (STUDY_RANKINGS + RANDOM_ORDERS)
    return fit + matrices * took.together * half_of(measured)


def _try_out(
    model: nn.Module,
    rows: TokenData,
    held_out: TokenData,
    config: StudyConfig,
    reference: Reference | None,
) -> tuple[_Times, Bool[Tensor, "layer unit"]]:
    """Time a few passes, from where an accelerator's memory is counted; and find the heads."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    with open_engine(
        model, reference=reference, recompute=config.recompute, metric=config.metric
    ) as engine:
        took = _time_passes(engine, rows, held_out, config)
        return took, engine.exists(config.unit).cpu()


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


@dataclass(frozen=True)
class _Times:
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


def _time_passes(
    engine: Engine, rows: TokenData, held_out: TokenData, config: StudyConfig
) -> _Times:
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
    return _Times(
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

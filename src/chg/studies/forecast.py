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
from dataclasses import dataclass

import torch
from jaxtyping import Bool
from torch import Tensor, nn

from chg.ablation import RANDOM_ORDERS, STUDY_RANKINGS, affordable
from chg.config import StudyConfig
from chg.data import TokenData
from chg.engine import (
    ESTIMATE_POINTS,
    open_engine,
)
from chg.fitting import (
    total_updates,
)
from chg.gating import Reference
from chg.results import MOST_PAIRS, SCORES, STAGES, sizes_of
from chg.studies.proofs import half_of
from chg.studies.record import WATCHED_EVERY, WATCHED_ROWS
from chg.studies.timing import Times, time_passes

logger = logging.getLogger(__name__)

LONG = 6 * 3600.0
"""Seconds beyond which a study says how to make it shorter."""
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


def _ranking(took: Times, config: StudyConfig, heads: int, measured: int) -> float:
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
) -> tuple[Times, Bool[Tensor, "layer unit"]]:
    """Time a few passes, from where an accelerator's memory is counted; and find the heads."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    with open_engine(
        model, reference=reference, recompute=config.recompute, metric=config.metric
    ) as engine:
        took = time_passes(engine, rows, held_out, config)
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

"""Gates that keep one behaviour and lose another (METHOD.md, Contrastive CHG; paper, eq. 2).

1. Rows of the retain and the forget side are paired: as they match, or as they come, each side
   shuffled by itself.
2. Minimise `max(alpha * logP_forget - logP_retain, -bound) + lambda_reg * R`, where logP is the
   mean log-probability of a row's target tokens. A mean that ablated heads are replaced by is over
   the retain rows.
3. Several starts are fitted side by side, because there are traps: everything open forgets
   nothing, everything closed retains nothing, and both have no gradient. Other weights of
   forgetting and the reverse direction are further fits of the same passes.
4. The fit that does both best on held-out rows is kept, and measured with its gates as fitted
   and cut at 0.5; so is every other, also on a task that was left out of fitting.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from chg.config import ContrastConfig
from chg.data import MatchedData, MatchedSplit, TokenData, with_partners
from chg.engine import partial_forward
from chg.fitting.contrast_measures import ContrastPlan, Sides, figures_of, measure
from chg.fitting.losses import contrast_loss
from chg.fitting.optimizer import Update, optimise_gates, starting_logits
from chg.fitting.stopping import updates_between_looks
from chg.fitting.updates import MicroBatch, endless_rows
from chg.gating import HeadGates, Reference, count_gates, describe_reference, with_reference
from chg.models import AnyModel, describe_model, gate_shape, unwrap_model
from chg.progress import progress_bar
from chg.results import ContrastFit, ContrastRun, SideMetrics, describe_config, package_versions

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ContrastResult:
    """The best fit's gates, and what every fit does to both sides."""

    gates: HeadGates
    run: ContrastRun
    logits: Float[Tensor, "fit layer head"]
    """Gates of every fit, in the order of `run.fits`."""
    reversed: ContrastResult | None = None
    """The other direction, if both were fitted."""

    @property
    def best(self) -> ContrastFit:
        """The fit whose gates these are."""
        return self.run.fits[self.run.best]

    @property
    def retain(self) -> SideMetrics:
        """Its figures on held-out rows to retain."""
        return self.best.retain

    @property
    def forget(self) -> SideMetrics:
        """Its figures on held-out rows to forget."""
        return self.best.forget

    @property
    def warnings(self) -> tuple[str, ...]:
        """What it failed at."""
        return self.run.warnings


def fit_contrastive(
    model: AnyModel,
    retain: TokenData,
    forget: TokenData,
    config: ContrastConfig | None = None,
    *,
    held_out_retain: TokenData,
    held_out_forget: TokenData,
    show_progress: bool = True,
    **settings: Any,
) -> ContrastResult:
    """Fit gates that retain one data set and forget another.

    Args:
        model: a causal language model; left exactly as it was.
        retain: rows whose log-probability is kept high.
        forget: rows whose log-probability is pushed down.
        config: all settings; or give single ones as keywords, `alpha=0.5`.
        held_out_retain: rows the best start is chosen and reported on.
        held_out_forget: the same for the forget side.
        show_progress: a progress bar, on a terminal.
        settings: fields of `ContrastConfig`.

    Raises:
        ArchitectureError: the model's heads cannot be found.
        DivergedError: the loss became NaN.
    """
    rows = _Rows((retain, forget), (held_out_retain, held_out_forget))
    return _fit(unwrap_model(model), rows, config or ContrastConfig(**settings), show_progress)


def fit_matched(
    model: AnyModel,
    split: MatchedSplit,
    config: ContrastConfig | None = None,
    *,
    show_progress: bool = True,
    **settings: Any,
) -> ContrastResult:
    """Fit gates that retain one side of matched tuples and forget the other.

    Args:
        model: a causal language model; left exactly as it was.
        split: tuples to fit and to measure on, from `split_tuples`; a task held out of them is
            measured as well, and never chosen by.
        config: all settings; or give single ones as keywords, `both_directions=True`.
        show_progress: a progress bar, on a terminal.
        settings: fields of `ContrastConfig`.

    Raises:
        ArchitectureError: the model's heads cannot be found.
        DivergedError: the loss became NaN.
    """
    unseen = None if split.unseen is None else _sides(split.unseen)
    rows = _Rows(_sides(split.fitting), _sides(split.held_out), unseen, split.task, matched=True)
    return _fit(unwrap_model(model), rows, config or ContrastConfig(**settings), show_progress)


@dataclass(frozen=True)
class _Rows:
    """What is fitted and what is measured."""

    fitting: Sides
    held_out: Sides
    unseen: Sides | None = None
    task: str | None = None
    matched: bool = False


def _sides(data: MatchedData) -> Sides:
    return data.retain, data.forget


def _plan(config: ContrastConfig) -> list[ContrastPlan]:
    """Every direction, weight of forgetting and start."""
    directions = (False, True) if config.both_directions else (False,)
    return [
        ContrastPlan(direction, alpha, start)
        for direction in directions
        for alpha in config.alphas
        for start in range(config.starts)
    ]


def _fit(
    model: nn.Module, rows: _Rows, config: ContrastConfig, show_progress: bool
) -> ContrastResult:
    plan = _plan(config)
    total = total_updates(config, min(len(side) for side in rows.fitting))
    began = time.perf_counter()
    rows, reference = _with_reference(model, rows, config)
    logits = _optimise(model, rows, plan, total, config, reference, show_progress)
    seconds = time.perf_counter() - began
    seen = measure(model, logits, rows.held_out, config, reference)
    unseen = None
    if rows.unseen is not None:
        unseen = measure(model, logits, rows.unseen, config, reference)
    results = []
    for direction in sorted({fit.reversed for fit in plan}):
        places = [k for k, fit in enumerate(plan) if fit.reversed == direction]
        fits = tuple(
            figures_of(plan[k], config, seen[k], unseen[k] if unseen else None) for k in places
        )
        best = max(range(len(fits)), key=lambda k: fits[k].merit)
        run = ContrastRun(fits, best, fits[best].warnings, direction, rows.task, total, seconds)
        metadata = {**_metadata(model, rows, run, config), **describe_reference(reference)}
        gates = HeadGates(logits[places[best]], metadata)
        results.append(ContrastResult(gates, run, logits[places]))
    return replace(results[0], reversed=results[1]) if len(results) > 1 else results[0]


def _with_reference(
    model: nn.Module, rows: _Rows, config: ContrastConfig
) -> tuple[_Rows, Reference | None]:
    """What ablated heads are replaced by, and the rows with their partners where these are."""
    (retain, forget), seed = rows.fitting, config.seed
    retain, reference = with_reference(model, retain, config)
    if config.ablation != "resample":
        return rows, reference

    def resampled(sides: Sides) -> Sides:
        return with_partners(sides[0], seed), with_partners(sides[1], seed)

    unseen = None if rows.unseen is None else resampled(rows.unseen)
    fitting = (retain, with_partners(forget, seed))
    return replace(
        rows, fitting=fitting, held_out=resampled(rows.held_out), unseen=unseen
    ), reference


def total_updates(config: ContrastConfig, rows: int) -> int:
    """Number of updates: `max_steps`, or the smaller side `epochs` times over."""
    per_update = config.batch_size * config.grad_accum_steps
    return config.max_steps or config.epochs * math.ceil(rows / per_update)


def _optimise(
    model: nn.Module,
    rows: _Rows,
    plan: list[ContrastPlan],
    total: int,
    config: ContrastConfig,
    reference: Reference | None,
    show_progress: bool,
) -> Float[Tensor, "fit layer head"]:
    """The logits of every fit of the plan."""
    shape = gate_shape(model, config.unit)
    start = torch.cat(
        [starting_logits(replace(config, seed=config.seed + fit.start), shape) for fit in plan]
    )
    with progress_bar(total, "fitting contrastive gates", show=show_progress) as bar:

        def on_update(update: Update) -> None:
            bar.update()
            if update.step % updates_between_looks(update.logits.device) and update.step != total:
                return
            opened = count_gates(torch.sigmoid(update.logits)).open / len(plan)
            losses = " ".join(f"{loss:.2f}" for loss in update.losses.tolist())
            bar.set_postfix_str(f"loss {losses} open {opened:.0f} per fit", refresh=False)
            if bar.disable and update.step % max(1, total // 5) == 0:
                logger.info("update %d/%d: loss of each fit %s", update.step, total, losses)

        pairs = _paired(rows, config, total)
        with partial_forward(model, config.recompute) as forward:
            pad_ids = rows.fitting[0].pad_id, rows.fitting[1].pad_id
            loss = contrast_loss(model, pad_ids, plan, config.bound, forward, reference)
            return optimise_gates(model, start, pairs, total, loss, config, on_update)


def _paired(rows: _Rows, config: ContrastConfig, total: int) -> Iterator[list[MicroBatch]]:
    """`grad_accum_steps` passes of pairs of rows per update."""
    streams = []
    for i, side in enumerate(rows.fitting):
        # The same seed draws the same order from as many rows, so that matched rows stay together.
        seed = config.seed if rows.matched else config.seed + i
        generator = torch.Generator().manual_seed(seed)
        streams.append(endless_rows(side, config.batch_size, generator))
    share = 1 / config.grad_accum_steps
    for _ in range(total):
        yield [
            MicroBatch((next(streams[0]), next(streams[1])), share)
            for _ in range(config.grad_accum_steps)
        ]


def _metadata(
    model: nn.Module, rows: _Rows, run: ContrastRun, config: ContrastConfig
) -> dict[str, Any]:
    """Where the best fit's gates came from."""
    best = run.fits[run.best]
    retain, forget = rows.fitting[::-1] if run.reversed else rows.fitting
    return {
        **describe_model(model),
        "dataset": retain.name,
        "forget_dataset": forget.name,
        "held_out_task": rows.task,
        "data_fingerprint": f"{retain.fingerprint}-{forget.fingerprint}",
        "lambda_reg": config.lambda_reg,
        "seed": best.seed,
        "alpha": best.alpha,
        "start": best.start,
        "figures": {"retain": asdict(best.retain), "forget": asdict(best.forget)},
        "configuration": describe_config(config),
        "versions": package_versions(),
    }

"""Gates that keep one behavior and lose another (docs/method.md#contrastive; paper, eq. 2).

1. Rows of the retain and the forget side are paired: as they match, or as they come, each side
   shuffled by itself.
2. Minimize `max(alpha * logP_forget - logP_retain, -bound) + lambda_reg * R`, where logP is the
   mean log-probability of a row's target tokens. A mean that ablated heads are replaced by is over
   the retain rows.
3. Several starts are fitted side by side, because there are traps: everything open forgets
   nothing, everything closed retains nothing, and both have no gradient. Other weights of
   forgetting and the reverse direction are further fits of the same passes.
4. The fit that does both best on held-out rows is kept, and measured with its gates as fitted
   and cut at 0.5; so is every other, also on a task that was left out of fitting.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from chg.config import ContrastConfig
from chg.data import MatchedData, MatchedSplit, TokenData
from chg.engine import Engine, open_engine
from chg.fitting.contrast_measures import ContrastPlan, Sides, fit_of_plan, measure_sides
from chg.fitting.losses import contrast_loss
from chg.fitting.optimizer import GateOptimizer, Update, starting_logits
from chg.fitting.stopping import updates_between_looks
from chg.fitting.updates import MicroBatch, contrast_updates, endless_rows
from chg.gating import HeadGates, count_gates, describe_reference, prepare
from chg.models import AnyModel, describe_model, plain_torch, unwrap_model
from chg.progress import ProgressBar, progress_bar
from chg.results import ContrastFit, ContrastRun, SideMetrics, origin


@dataclass(frozen=True)
class ContrastResult:
    """Gates of the best fit, and the effect of every fit on both sides."""

    gates: HeadGates
    run: ContrastRun
    logits: Float[Tensor, "fit layer head"]
    """Gates of every fit, in the order of `run.fits`."""
    reversed: ContrastResult | None = None
    """The other direction, if both were fitted."""

    def __repr__(self) -> str:
        return f"<ContrastResult {self.gates.counts}; {self.run!r}>"

    @property
    def best(self) -> ContrastFit:
        """Measures of the fit whose gates these are."""
        return self.run.fits[self.run.best]

    @property
    def retain(self) -> SideMetrics:
        """Metrics of the best fit on held-out rows to retain."""
        return self.best.retain

    @property
    def forget(self) -> SideMetrics:
        """Metrics of the best fit on held-out rows to forget."""
        return self.best.forget

    @property
    def warnings(self) -> tuple[str, ...]:
        """Warnings about what the best fit failed at."""
        return self.run.warnings


@plain_torch()
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


@plain_torch()
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
    """Rows to fit and rows to measure."""

    fitting: Sides
    held_out: Sides
    unseen: Sides | None = None
    task: str | None = None
    matched: bool = False


def _sides(data: MatchedData) -> Sides:
    return data.retain, data.forget


def _plan(config: ContrastConfig) -> list[ContrastPlan]:
    """List every direction, weight of forgetting and start."""
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
    """Fit every plan in the same passes, and measure each."""
    plan = _plan(config)
    total = contrast_updates(config, min(len(side) for side in rows.fitting))
    began = time.perf_counter()
    unseen = rows.unseen or (None, None)
    parts, reference = prepare(model, config, (*rows.fitting, *rows.held_out, *unseen))
    rows = replace(rows, fitting=(parts[0], parts[1]), held_out=(parts[2], parts[3]))
    if rows.unseen is not None:
        rows = replace(rows, unseen=(parts[4], parts[5]))
    with open_engine(model, reference=reference, recompute=config.recompute) as engine:
        with progress_bar(total, "fitting contrastive gates", show=show_progress) as bar:
            logits = _optimize(engine, rows, plan, config, _Watch(total, len(plan), bar))
        seconds = time.perf_counter() - began
        seen = measure_sides(engine, logits, rows.held_out, config)
        carried = rows.unseen and measure_sides(engine, logits, rows.unseen, config)
    fits = [
        fit_of_plan(fit, config, seen[k], carried[k] if carried else None)
        for k, fit in enumerate(plan)
    ]
    results, described = [], describe_model(model)
    for direction in sorted({fit.reversed for fit in plan}):
        places = [k for k, fit in enumerate(plan) if fit.reversed == direction]
        in_direction = tuple(fits[k] for k in places)
        best = max(range(len(places)), key=lambda k: in_direction[k].merit)
        warnings = in_direction[best].warnings
        run = ContrastRun(in_direction, best, warnings, direction, rows.task, total, seconds)
        metadata = {**described, **_metadata(rows, run, config), **describe_reference(reference)}
        gates = HeadGates(logits[places[best]], metadata)
        results.append(ContrastResult(gates, run, logits[places]))
    return replace(results[0], reversed=results[1]) if len(results) > 1 else results[0]


def _optimize(
    engine: Engine,
    rows: _Rows,
    plan: Sequence[ContrastPlan],
    config: ContrastConfig,
    watch: _Watch,
) -> Float[Tensor, "fit layer head"]:
    """Run all updates, and return the logits of every fit of the plan."""
    shape = engine.shape(config.unit)
    start = torch.cat(
        [starting_logits(replace(config, seed=config.seed + fit.start), shape) for fit in plan]
    )
    pad_ids = rows.fitting[0].pad_id, rows.fitting[1].pad_id
    loss = contrast_loss(engine, pad_ids, plan, config.bound)
    optimizer = GateOptimizer(engine, start, config)
    optimizer.run(_paired(rows, config, watch.total), watch.total, loss, watch)
    return optimizer.logits_of_heads().cpu()


@dataclass(frozen=True)
class _Watch:
    """Follower of the fits: the status of their bar."""

    total: int
    fits: int
    bar: ProgressBar

    def __call__(self, update: Update) -> None:
        looks = updates_between_looks(update.logits.device)
        if update.step % looks == 0 or update.step == self.total:
            opened = count_gates(torch.sigmoid(update.logits)).open / self.fits
            best, mean = float(update.losses.min()), float(update.losses.mean())
            self.bar.set_status(f"loss {best:.2f} best, {mean:.2f} mean, open {opened:.0f} per fit")
        self.bar.update()


def _paired(rows: _Rows, config: ContrastConfig, total: int) -> Iterator[list[MicroBatch]]:
    """Yield `grad_accum_steps` passes of pairs of rows per update."""
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


def _metadata(rows: _Rows, run: ContrastRun, config: ContrastConfig) -> dict[str, Any]:
    """Describe the best fit's gates: their data, settings and measures."""
    best = run.fits[run.best]
    retain, forget = rows.fitting[::-1] if run.reversed else rows.fitting
    return origin(
        config,
        dataset=retain.name,
        forget_dataset=forget.name,
        held_out_task=rows.task,
        data_fingerprint=f"{retain.fingerprint}-{forget.fingerprint}",
        lambda_reg=config.lambda_reg,
        unit=config.unit,
        seed=best.seed,
        alpha=best.alpha,
        start=best.start,
        figures={"retain": asdict(best.retain), "forget": asdict(best.forget)},
    )

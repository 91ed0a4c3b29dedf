"""Fitting one gate per head (docs/method.md#fitting; paper, eq. 1 and section 3).

1. Start from random gates drawn from the seed, or from a gate file.
2. Minimize `NLL + lambda_reg * R` over the logits (`optimizer.py`); NLL is the mean over rows of
   the mean over each row's target tokens (or another metric, negated). The order of rows follows
   from the seed alone, so that G+ and G- from one G0 differ by the regularizer and nothing else.
3. Measure the NLL ungated and gated on training and held-out rows.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from chg.config import FitConfig
from chg.data import TokenData
from chg.engine import Engine, EvaluationOptions, SequenceScores, evaluate_open, open_engine
from chg.errors import ConfigError
from chg.fitting.losses import metric_loss
from chg.fitting.optimizer import GateOptimizer, Update, starting_logits
from chg.fitting.stopping import updates_between_looks
from chg.fitting.updates import MicroBatch, total_updates, update_batches
from chg.gating import (
    FOR_FITTING,
    LOGIT_BOUND,
    AnyGates,
    HeadGates,
    attach,
    count_gates,
    describe_reference,
    gate_values,
    prepare,
    resolve_gates,
)
from chg.models import AnyModel, describe_model, gate_shape, plain_torch, unwrap_model
from chg.progress import ProgressBar, Report, progress_bar
from chg.results import origin

EVALUATIONS = 5
"""Times that held-out rows are measured on the way."""


@dataclass(frozen=True)
class FitResult:
    """Fitted gates, and the NLL that they cost."""

    gates: HeadGates
    nll_ungated_train: float
    nll_gated_train: float
    nll_ungated_held_out: float | None
    nll_gated_held_out: float | None
    updates: int
    seconds: float
    """Optimisation alone, without the measuring."""
    tokens_per_second: float
    losses: tuple[float, ...]
    """NLL (another metric, negated) of each update's rows before it."""
    metric_ungated: float | None = None
    """Mean metric on held-out rows, on those of training where there are none; None where it is the
    log-probability."""
    metric_gated: float | None = None

    def __repr__(self) -> str:
        apart = self.nll_ungated_held_out is not None
        before = self.nll_ungated_held_out if apart else self.nll_ungated_train
        after = self.nll_gated_held_out if apart else self.nll_gated_train
        return (
            f"<FitResult after {self.updates} updates: NLL {before:.4f} ungated, {after:.4f} gated "
            f"({'held-out' if apart else 'training'} rows); {self.gates.counts}>"
        )


@plain_torch()
def fit_gates(
    model: AnyModel,
    data: TokenData,
    config: FitConfig | None = None,
    *,
    init: AnyGates | None = None,
    held_out: TokenData | None = None,
    reference: TokenData | None = None,
    show_progress: bool = True,
    report: Report | None = None,
    **settings: Any,
) -> FitResult:
    """Fit one gate per head with the weights frozen.

    Args:
        model: a causal language model; left exactly as it was.
        data: rows to fit on.
        config: all settings; or give single ones as keywords, `lambda_reg=-0.1`.
        init: gates to start from, in place of `gate_init`, in any form that `gated` takes; of a
            study those fitted freely (G0), first seed (others: `HeadGates.from_study`).
        held_out: rows to measure on, never fitted.
        reference: rows that `ablation="mean"` is over, or that `"resample"` takes heads from; those
            of `data` (and of `held_out`, resampled) if not given.
        show_progress: a progress bar, on a terminal.
        report: called with metrics after every update.
        settings: fields of `FitConfig`.

    Raises:
        ArchitectureError: the model's heads cannot be found.
        ConfigError, DataError: the reference rows do not go with the kind of ablation.
        GateError: `init` does not fit the model.
        DivergedError: the loss became NaN; `last_good` holds the `HeadGates` before it.

    Example:
        >>> retention = fit_gates(model, data, lambda_reg=-0.1, init=initial.gates)
    """
    model = unwrap_model(model)
    config = config or FitConfig(**settings)
    shape = gate_shape(model, config.unit)
    described = describe_model(model)
    start = starting_logits(config, shape) if init is None else given_start(model, init, shape)
    total = total_updates(config, len(data))
    began = time.perf_counter()
    (data, held_out), fill = prepare(model, config, (data, held_out), reference, config.metric)
    with (
        open_engine(
            model, reference=fill, recompute=config.recompute, metric=config.metric
        ) as engine,
        progress_bar(total, "fitting gates", show=show_progress) as bar,
    ):
        optimizer = GateOptimizer(engine, start, config)
        rows = _CountedRows(update_batches(data, config, total, config.batch_tokens))
        watch = _Watch(engine, config, held_out, total, bar, report)
        optimizer.run(rows, total, metric_loss(engine, data.pad_id), watch)
        seconds = time.perf_counter() - began - watch.seconds
        gates = HeadGates(optimizer.logits_of_heads().cpu()[0])
        train = _measured(engine, data, gates, config)
        apart = None if held_out is None else _measured(engine, held_out, gates, config)
    metrics: dict[str, Any] = {
        **_nlls("train", *train),
        **_nlls("held_out", *(apart or (None, None))),
        **({} if config.metric == "logprob" else _metrics(*(apart or train))),
        "updates": len(watch.losses),
        "seconds": seconds,
        "tokens_per_second": rows.tokens / seconds,
    }
    metadata = origin(
        config,
        **described,
        dataset=data.name,
        data_fingerprint=data.fingerprint,
        **describe_reference(fill),
        lambda_reg=config.lambda_reg,
        unit=config.unit,
        seed=config.seed,
        figures=metrics,
    )
    return FitResult(HeadGates(gates.logits, metadata), losses=tuple(watch.losses), **metrics)


def given_start(
    model: nn.Module, init: AnyGates, shape: tuple[int, int]
) -> Float[Tensor, "fit=1 layer head"]:
    """Take the logits of gates to start from; those of 0 and 1 where a fit can move them."""
    given = resolve_gates(model, init, default=FOR_FITTING)
    values = gate_values(given).detach()
    if tuple(values.shape) != shape:
        raise ConfigError(
            f"the gates to start from are {' x '.join(map(str, values.shape))} (layers x heads), "
            f"the model has {shape[0]} x {shape[1]}; they belong to another model"
        )
    attach(model, values).remove()  # the checks
    logits = given.logits if isinstance(given, HeadGates) else torch.logit(values)
    logits = logits.detach().float()
    return torch.where(logits.isinf(), logits.sign() * LOGIT_BOUND, logits)[None]


class _CountedRows:
    """Rows of all updates, with the number of tokens handed out so far."""

    def __init__(self, updates: Iterator[list[MicroBatch]]) -> None:
        self._updates = updates
        self.tokens = 0

    def __iter__(self) -> Iterator[list[MicroBatch]]:
        for update in self._updates:
            self.tokens += sum(len(row.ids) for passes in update for row in passes.sides[0])
            yield update


@dataclass
class _Watch:
    """Follower of a fit: status of the bar, held-out NLL on the way, and the report."""

    engine: Engine
    config: FitConfig
    held_out: TokenData | None
    total: int
    bar: ProgressBar
    report: Report | None
    seconds: float = 0.0
    """Spent on held-out rows."""
    _held_out_nll: float = math.nan
    _losses: list[Tensor] = field(default_factory=list)

    def __call__(self, update: Update) -> None:
        self._losses.append(update.losses.mean())
        every = max(1, self.total // EVALUATIONS)
        looks = updates_between_looks(update.logits.device)
        if update.step % looks and update.step % every and update.step != self.total:
            self.bar.update()
            return
        gates, loss = torch.sigmoid(update.logits), float(self._losses[-1])
        if self.held_out is not None and update.step % every == 0:
            self._evaluate(gates[0].cpu())
        counts = count_gates(gates)
        if self.report is not None:
            metrics = {
                "loss": loss,
                "held_out_nll": self._held_out_nll,
                **{f"gates_{name}": float(n) for name, n in counts._asdict().items()},
            }
            numbers = {k: v for k, v in metrics.items() if not math.isnan(v)}
            self.report({**numbers, "lr": update.lr}, update.step)
        held_out = "" if math.isnan(self._held_out_nll) else f" held-out {self._held_out_nll:.3f}"
        self.bar.set_status(
            f"loss {loss:.3f}{held_out} "
            f"open {counts.open} closed {counts.closed} mid {counts.middle}"
        )
        self.bar.update()

    @property
    def losses(self) -> list[float]:
        """Loss of every update's rows before it."""
        return [float(loss) for loss in torch.stack(self._losses).tolist()]

    def _evaluate(self, gates: Float[Tensor, "layer head"]) -> None:
        assert self.held_out is not None
        began = time.perf_counter()
        sample = self.held_out.sample(self.config.eval_rows, 0)
        options = EvaluationOptions(batch_size=self.config.batch_size)
        (scores,) = evaluate_open(self.engine, sample, [gates], options)
        self._held_out_nll = scores.nll
        self.seconds += time.perf_counter() - began


def _measured(
    engine: Engine, rows: TokenData, gates: HeadGates, config: FitConfig
) -> tuple[SequenceScores, SequenceScores]:
    """Score rows ungated and gated."""
    sample = rows.sample(config.eval_rows, 0)
    matrices = [torch.ones_like(gates.values), gates.values]
    options = EvaluationOptions(batch_size=config.batch_size)
    ungated, gated = evaluate_open(engine, sample, matrices, options)
    return ungated, gated


def _nlls(
    rows: str, ungated: SequenceScores | None, gated: SequenceScores | None
) -> dict[str, float | None]:
    return {
        f"nll_ungated_{rows}": None if ungated is None else ungated.nll,
        f"nll_gated_{rows}": None if gated is None else gated.nll,
    }


def _metrics(ungated: SequenceScores, gated: SequenceScores) -> dict[str, float]:
    return {"metric_ungated": ungated.metric, "metric_gated": gated.metric}

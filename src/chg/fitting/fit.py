"""Fitting one gate per head (METHOD.md, Fitting; paper, eq. 1 and section 3).

1. Start from random gates drawn from the seed, or from a gate file.
2. Minimise `NLL + lambda_reg * R` over the logits (`optimiser.py`); NLL is the mean over rows of
   the mean over each row's target tokens. The order of rows follows from the seed alone, so that
   G+ and G- from one G0 differ by the regulariser and nothing else.
3. Measure the NLL ungated and gated on training and held-out rows.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from chg.config import FitConfig
from chg.data import TokenData, with_partners
from chg.engine import evaluate, evaluate_gates, partial_forward
from chg.errors import ConfigError
from chg.fitting.losses import nll_loss
from chg.fitting.optimizer import Update, optimise_gates, starting_logits
from chg.fitting.stopping import updates_between_looks
from chg.fitting.updates import MicroBatch, total_updates, update_batches
from chg.gating import HeadGates, Reference, count_gates, describe_reference, with_reference
from chg.models import AnyModel, describe_model, gate_shape, unwrap_model
from chg.progress import Report, progress_bar
from chg.results import describe_config, package_versions

logger = logging.getLogger(__name__)

EVALUATIONS = 5
"""How often held-out rows are measured on the way."""


@dataclass(frozen=True)
class FitResult:
    """Fitted gates and the figures that say what they cost."""

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
    """NLL of each update's rows before it."""


def fit_gates(
    model: AnyModel,
    data: TokenData,
    config: FitConfig | None = None,
    *,
    init: HeadGates | None = None,
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
        init: gates to start from, in place of `gate_init`.
        held_out: rows to measure on, never fitted.
        reference: rows that `ablation="mean"` is over, or that `"resample"` takes heads from; those
            of `data` (and of `held_out`, resampled) if not given.
        show_progress: a progress bar, on a terminal.
        report: called with figures after every update.
        settings: fields of `FitConfig`.

    Raises:
        ArchitectureError: the model's heads cannot be found.
        ConfigError, DataError: the reference rows do not go with the kind of ablation.
        GateError: `init` does not fit the model.
        DivergedError: the loss became NaN; `last_good` holds `HeadGates` from before.

    Example:
        >>> retention = fit_gates(model, data, lambda_reg=-0.1, init=initial.gates)
    """
    model = unwrap_model(model)
    config = config or FitConfig(**settings)
    shape = gate_shape(model, config.unit)
    start = starting_logits(config, shape) if init is None else _check_init(init, shape)[None]
    total = total_updates(config, len(data))
    began = time.perf_counter()
    data, fill = with_reference(model, data, config, reference)
    if config.ablation == "resample" and held_out is not None:
        held_out = with_partners(held_out, config.seed, reference)
    watch = _Watch(model, held_out, config, fill, total, show_progress, report)
    tokens = 0

    def counted(updates: Iterator[list[MicroBatch]]) -> Iterator[list[MicroBatch]]:
        nonlocal tokens
        for update in updates:
            tokens += sum(len(row.ids) for passes in update for row in passes.sides[0])
            yield update

    updates = counted(update_batches(data, config, total))
    try:
        with partial_forward(model, config.recompute) as forward:
            loss = nll_loss(model, data.pad_id, forward, fill)
            logits = optimise_gates(model, start, updates, total, loss, config, watch)
    finally:
        watch.close()
    seconds = time.perf_counter() - began - watch.seconds
    speed = (seconds, tokens / seconds)
    return _measured(model, data, held_out, config, fill, logits[0], watch, speed)


def _check_init(init: HeadGates, shape: tuple[int, int]) -> Float[Tensor, "layer head"]:
    if tuple(init.logits.shape) != shape:
        raise ConfigError(
            f"the gates to start from are {init.num_layers} layers x {init.num_heads} heads, the "
            f"model has {shape[0]} x {shape[1]}; they belong to another model"
        )
    return init.logits


class _Watch:
    """Follows a fit: the progress bar, held-out figures on the way, and the report."""

    def __init__(
        self,
        model: nn.Module,
        held_out: TokenData | None,
        config: FitConfig,
        reference: Reference | None,
        total: int,
        show: bool,
        report: Report | None,
    ) -> None:
        self._model = model
        self._held_out = None if held_out is None else held_out.sample(config.eval_rows, 0)
        self._batch_size = config.batch_size
        self._reference = reference
        self._total = total
        self._report = report
        self._bar = progress_bar(total, "fitting gates", show=show)
        self._held_out_nll = math.nan
        self._losses: list[Tensor] = []
        self.seconds = 0.0

    def __call__(self, update: Update) -> None:
        self._losses.append(update.losses.mean())
        every = max(1, self._total // EVALUATIONS)
        looks = updates_between_looks(update.logits.device)
        if update.step % looks and update.step % every and update.step != self._total:
            self._bar.update()
            return
        gates, loss = torch.sigmoid(update.logits), float(self._losses[-1])
        if self._held_out is not None and update.step % every == 0:
            self._evaluate(gates[0].cpu())
        counts = count_gates(gates)
        figures = {
            "loss": loss,
            "held_out_nll": self._held_out_nll,
            **{f"gates_{name}": float(n) for name, n in counts._asdict().items()},
        }
        if self._report is not None:
            numbers = {k: v for k, v in figures.items() if not math.isnan(v)}
            self._report({**numbers, "lr": update.lr}, update.step)
        held_out = "" if math.isnan(self._held_out_nll) else f" held-out {self._held_out_nll:.3f}"
        text = (
            f"loss {loss:.3f}{held_out} "
            f"open {counts.open} closed {counts.closed} mid {counts.middle}"
        )
        self._bar.set_postfix_str(text, refresh=False)
        self._bar.update()
        if self._bar.disable and update.step % every == 0:
            logger.info("update %d/%d: %s", update.step, self._total, text)

    @property
    def losses(self) -> list[float]:
        """The loss of every update's rows before it."""
        return [float(loss) for loss in torch.stack(self._losses).tolist()]

    def _evaluate(self, gates: Tensor) -> None:
        assert self._held_out is not None
        began = time.perf_counter()
        self._held_out_nll = evaluate(
            self._model,
            self._held_out,
            gates,
            batch_size=self._batch_size,
            reference=self._reference,
        ).nll
        self.seconds += time.perf_counter() - began

    def close(self) -> None:
        """Close the bar."""
        self._bar.close()


def _measured(
    model: nn.Module,
    data: TokenData,
    held_out: TokenData | None,
    config: FitConfig,
    reference: Reference | None,
    logits: Tensor,
    watch: _Watch,
    speed: tuple[float, float],
) -> FitResult:
    """Measure the NLL before and after on both sides, and write everything into the metadata."""
    gates = torch.sigmoid(logits)

    def before_and_after(rows: TokenData | None) -> tuple[float | None, float | None]:
        if rows is None:
            return None, None
        sample = rows.sample(config.eval_rows, 0)
        both = evaluate_gates(
            model,
            sample,
            [torch.ones_like(gates), gates],
            batch_size=config.batch_size,
            reference=reference,
        )
        ungated, gated = (scores.nll for scores in both)
        return ungated, gated

    train, apart = before_and_after(data), before_and_after(held_out)
    figures = {
        "nll_ungated_train": train[0],
        "nll_gated_train": train[1],
        "nll_ungated_held_out": apart[0],
        "nll_gated_held_out": apart[1],
        "updates": len(watch.losses),
        "seconds": speed[0],
        "tokens_per_second": speed[1],
    }
    metadata = {
        **describe_model(model),
        "dataset": data.name,
        "data_fingerprint": data.fingerprint,
        **describe_reference(reference),
        "lambda_reg": config.lambda_reg,
        "seed": config.seed,
        "figures": figures,
        "configuration": describe_config(config),
        "versions": package_versions(),
    }
    return FitResult(HeadGates(logits, metadata), losses=tuple(watch.losses), **figures)  # type: ignore[arg-type]

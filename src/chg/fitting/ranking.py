"""Budgeted fit of a model: a ranking of its heads for every number of them kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from jaxtyping import Float
from torch import Tensor

from chg.config import FitConfig
from chg.data import TokenData
from chg.engine import Engine, EvaluationOptions, estimate_scores, open_engine
from chg.fitting.budgeted import budgeted_loss, budgeted_updates, spread_ranks
from chg.fitting.fit import given_start
from chg.fitting.optimizer import GateOptimizer, OptimizerOptions, Schedule, Update
from chg.fitting.stopping import updates_between_looks
from chg.fitting.updates import MicroBatch, total_updates, update_batches
from chg.gating import AnyGates, HeadGates, describe_reference, prepare
from chg.models import AnyModel, describe_model, gate_shape, plain_torch, unwrap_model
from chg.progress import Report, progress_bar
from chg.results import origin

FALL = 0.5
"""Share of the updates over which the step size falls."""
ESTIMATE_ROWS = 32
"""Rows on which the scores to start from are estimated."""


class BudgetedFit:
    """A budgeted fit under way; its `optimizer` can be put aside and gone on with.

    Args:
        engine: the model, open as long as updates run.
        rows: rows to fit on.
        config: settings of the fit.
        start: scores to start from, within the bounds of logits.
    """

    def __init__(
        self,
        engine: Engine,
        rows: TokenData,
        config: FitConfig,
        start: Float[Tensor, "layer unit"],
    ) -> None:
        self._engine, self._rows, self._config = engine, rows, config
        self.total = total_updates(config, len(rows))
        options = OptimizerOptions(schedule=Schedule(config.lr, fall=FALL))
        self.optimizer = GateOptimizer(engine, start[None], config, options)

    def run(self, on_update: Callable[[Update], None]) -> Float[Tensor, "layer unit"]:
        """Run the updates that are left; return the scores, NaN where there is no head.

        Raises:
            DivergedError: the loss or its gradient became NaN or infinite.
        """
        exists = self._engine.exists(self._config.unit)
        loss = budgeted_loss(self._engine, self._rows.pad_id, exists)
        self.optimizer.run(self._updates(), self.total, loss, on_update)
        return self.optimizer.logits_of_heads().cpu()[0]

    def _updates(self) -> Iterator[list[MicroBatch]]:
        """Yield the rows and budgets of the updates that are left."""
        config, done = self._config, self.optimizer.step
        if done >= self.total:
            return iter(())
        rows = update_batches(self._rows, config, self.total, config.batch_tokens)
        return islice(budgeted_updates(rows, self.total, config.seed), done, None)


@plain_torch()
def fit_budgeted(
    model: AnyModel,
    data: TokenData,
    config: FitConfig | None = None,
    *,
    init: AnyGates | None = None,
    reference: TokenData | None = None,
    show_progress: bool = True,
    report: Report | None = None,
    **settings: Any,
) -> HeadGates:
    """Rank heads for every number of them kept, by one score per head.

    The first `k` heads by these scores are to do the task alone, for every `k` at once
    (docs/method.md#budgets). How well they do is for `faithfulness` to measure.

    Args:
        model: a causal language model; left exactly as it was.
        data: rows to fit on.
        config: all settings; or give single ones as keywords, `max_steps=200`.
        init: gates whose order to start from, in any form that `gated` takes; the order of scores
            estimated from gradients if not given.
        reference: rows that `ablation="mean"` is over, or that `"resample"` takes heads from; those
            of `data` if not given.
        show_progress: a progress bar, on a terminal.
        report: called with the loss after every update.
        settings: fields of `FitConfig`; `lambda_reg` and `gate_init` say nothing here.

    Returns:
        Scores as logits; as gates, they say nothing but their order.

    Raises:
        ArchitectureError: the model's heads cannot be found.
        ConfigError, DataError: the reference rows do not go with the kind of ablation.
        GateError: `init` does not fit the model.
        DivergedError: the loss became NaN; `last_good` holds the `HeadGates` before it.
    """
    model = unwrap_model(model)
    config = config or FitConfig(**settings)
    start = None
    if init is not None:
        start = spread_ranks(given_start(model, init, gate_shape(model, config.unit))[0])
    described = describe_model(model)
    began = time.perf_counter()
    (data,), fill = prepare(model, config, (data,), reference, config.metric)
    with open_engine(
        model, reference=fill, recompute=config.recompute, metric=config.metric
    ) as engine:
        if start is None:
            start = spread_ranks(_estimated(engine, data, config))
        fit = BudgetedFit(engine, data, config, start)
        with progress_bar(fit.total, "ranking heads", show=show_progress) as bar:
            looks = updates_between_looks(engine.device)

            def follow(update: Update) -> None:
                if update.step % looks == 0 or update.step == fit.total:
                    loss = float(update.losses.mean())
                    bar.set_status(f"loss {loss:.3f}")
                    if report is not None:
                        report({"loss": loss, "lr": update.lr}, update.step)
                bar.update()

            scores = fit.run(follow)
    metadata = origin(
        config,
        **described,
        dataset=data.name,
        data_fingerprint=data.fingerprint,
        **describe_reference(fill),
        budgeted=True,
        figures={"updates": fit.total, "seconds": time.perf_counter() - began},
    )
    return HeadGates(scores, metadata)


def _estimated(engine: Engine, data: TokenData, config: FitConfig) -> Float[Tensor, "layer unit"]:
    """Estimate the worth of every head from gradients: minus the score of ablating it."""
    exists = engine.exists(config.unit).cpu()
    rows = data.sample(ESTIMATE_ROWS, config.seed)
    options = EvaluationOptions(config.batch_size)
    scores, _ = estimate_scores(engine, rows, exists.float(), options)
    return (-scores).float().masked_fill(~exists, float("nan"))

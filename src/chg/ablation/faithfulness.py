"""Faithfulness of rankings: the first heads kept, the rest ablated, size after size.

1. The sizes are the same for all rankings, so that none and all are measured once.
2. Intervals are of a bootstrap over rows, and over orders where a ranking has several.
3. `|1 - f|` has a kink at 1, where resampling alone claims too much: a size whose `f` may lie on
   either side counts nothing towards the lower bound (tests/ablation/test_faithfulness.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool
from numpy.typing import NDArray
from torch import Tensor

from chg.ablation.rankings import AnyRanking, exists_for, random_ranking, rankings_of
from chg.config import AblationConfig, AblationKind, Metric
from chg.data import TokenData
from chg.engine import Evaluate, SequenceScores, evaluate_gates
from chg.gating import prepare
from chg.models import AnyModel, find_head_sites, plain_torch, unwrap_model
from chg.progress import progress_bar
from chg.results import Bounded, Faithfulness, FaithfulnessCurve, Ranking, sizes_of

RESAMPLES = 2000
TAILS = (0.025, 0.975)


@plain_torch()
def faithfulness(
    model: AnyModel,
    data: TokenData,
    ranking: AnyRanking | Mapping[str, AnyRanking],
    *,
    reference: TokenData | None = None,
    show_progress: bool = True,
    **settings: Any,
) -> Faithfulness:
    """Measure how well the first heads of a ranking do the task when the rest is ablated.

    Five random orders are measured beside it. For a claim, take rows that no ranking was made from.

    Args:
        model: a causal language model; left exactly as it was.
        data: rows whose target tokens are scored.
        ranking: what orders the heads, or several with their names: gates or scores, highest first,
            in any form that `gated` takes; an `AblationResult`; a study, whose orders are all
            measured.
        reference: rows that `ablation="mean"` is over, or that `"resample"` takes heads from; those
            of `data` if not given.
        show_progress: a progress bar, on a terminal.
        settings: `ablation`, `per_position`, `metric`, `seed` and `batch_size` of `AblationConfig`.

    Raises:
        ArchitectureError: the model's heads cannot be found.
        ConfigError, DataError: the reference rows do not go with the kind of ablation.
        GateError: a ranking does not fit the model.
        GateFileError, ResultsError: a file or study is missing or damaged.

    Example:
        >>> found = chg.faithfulness(model, held_out, {"by hand": scores})  # doctest: +SKIP
        >>> found.table  # doctest: +SKIP
    """
    model = unwrap_model(model)
    config = AblationConfig(**settings)
    rankings = rankings_of(model, ranking)
    exists = exists_for(find_head_sites(model), rankings)
    rankings = [*rankings, random_ranking(exists, config.seed)]
    (data,), fill = prepare(model, config, (data,), reference, config.metric)

    def evaluate(_: str, matrices: Sequence[Tensor]) -> list[SequenceScores]:
        title = "keeping heads"
        with progress_bar(len(matrices), title, show=show_progress, unit="matrix") as bar:
            return evaluate_gates(
                model,
                data,
                matrices,
                batch_size=config.batch_size,
                reference=fill,
                metric=config.metric,
                on_progress=lambda share: bar.update(share * len(matrices)),
            )

    return measure_faithfulness(
        evaluate, rankings, exists, ablation=config.ablation, metric=config.metric
    )


def measure_faithfulness(
    evaluate: Evaluate,
    rankings: Sequence[Ranking],
    exists: Bool[Tensor, "layer unit"],
    *,
    ablation: AblationKind,
    metric: Metric,
) -> Faithfulness:
    """Measure the curves of rankings, and put the best first.

    Args:
        evaluate: scores held-out rows under gate matrices.
        rankings: orders of the heads.
        exists: entries of the gate matrix that are heads.
        ablation: what closed gates become, and
        metric: what `evaluate` measures, for the record.
    """
    sizes = sizes_of(int(exists.sum()))
    inner = sizes[1:-1]
    matrices = [torch.zeros(exists.shape), exists.float()]
    for ranking in rankings:
        for order in range(len(ranking.scores)):
            matrices += [torch.from_numpy(ranking.first(order, int(k))).float() for k in inner]
    none, all_, *kept = evaluate("faithfulness", matrices)
    samples = _Samples.draw(none.counts)
    curves, taken = [], 0
    for ranking in rankings:
        orders = []
        for _ in ranking.scores:
            orders.append([none, *kept[taken : taken + len(inner)], all_])
            taken += len(inner)
        curves.append(_curve(ranking, orders, sizes, samples))
    return Faithfulness(
        sizes=sizes,
        rows=len(none.counts),
        ablation=ablation,
        metric=metric,
        gap=_gap(none, all_, samples),
        curves=tuple(sorted(curves, key=lambda curve: curve.cmd.value)),
    )


@dataclass(frozen=True)
class _Samples:
    """Rows drawn again and again; the first draw is the rows themselves."""

    weights: NDArray[np.float64]
    """`[sample, row]`: how often a row is drawn."""
    counts: NDArray[np.float64]
    """`[row]`: target tokens."""

    @staticmethod
    def draw(counts: NDArray[np.float64]) -> _Samples:
        rows = len(counts)
        drawn = np.random.default_rng(0).multinomial(rows, np.full(rows, 1 / rows), RESAMPLES)
        return _Samples(np.concatenate([np.ones((1, rows)), drawn]), counts)

    def means(self, scores: SequenceScores) -> NDArray[np.float64]:
        """Mean metric of every draw, `[sample]`."""
        return np.asarray(self.weights @ scores.sums / (self.weights @ self.counts))


def _gap(none: SequenceScores, all_: SequenceScores, samples: _Samples) -> Bounded:
    """Difference between all heads and none; no interval for a single row."""
    gaps = samples.means(all_) - samples.means(none)
    if len(none.counts) < 2:
        return Bounded(float(gaps[0]), np.nan, np.nan)
    return Bounded(float(gaps[0]), *map(float, np.quantile(gaps[1:], TAILS)))


def _curve(
    ranking: Ranking,
    orders: list[list[SequenceScores]],
    sizes: NDArray[np.int64],
    samples: _Samples,
) -> FaithfulnessCurve:
    """Read the curve of one ranking from the scores of every order and size."""
    metric = np.array([[scores.metric for scores in order] for order in orders])
    means = np.stack([[samples.means(scores) for scores in order] for order in orders])
    means = means.transpose(2, 0, 1)  # [sample, order, size]
    none, all_ = means[..., :1], means[..., -1:]
    with np.errstate(divide="ignore", invalid="ignore"):
        by_order = (means - none) / (all_ - none)
    found = by_order[0]
    share = sizes / sizes[-1]
    low, high = np.full((2, len(sizes)), np.nan)
    cpr, cmd = (
        Bounded(float(value), np.nan, np.nan)
        for value in (
            np.trapezoid(found, share).mean(),
            np.trapezoid(np.abs(1 - found), share).mean(),
        )
    )
    if len(samples.counts) > 1 and np.isfinite(by_order).all():
        drawn = _orders_drawn(by_order[1:])
        f = drawn.mean(axis=1)
        low, high = np.quantile(f, TAILS, axis=0)
        cpr = Bounded(cpr.value, *_quantiles(np.trapezoid(f, share)))
        cmd = Bounded(cmd.value, *_bounds_of_cmd(found, drawn, share))
    return FaithfulnessCurve(
        ranking=ranking.name,
        metric=metric,
        accuracy=np.array([[scores.accuracy for scores in order] for order in orders]),
        faithfulness=found,
        low=low,
        high=high,
        cpr=cpr,
        cmd=cmd,
        row_passes=ranking.row_passes,
    )


def _orders_drawn(by_order: NDArray[np.float64]) -> NDArray[np.float64]:
    """Draw the orders of every sample as well, `[sample, order, size]`; one order is itself."""
    samples, orders, _ = by_order.shape
    if orders == 1:
        return by_order
    chosen = np.random.default_rng(1).integers(orders, size=(samples, orders))
    return by_order[np.arange(samples)[:, None], chosen]


def _bounds_of_cmd(
    found: NDArray[np.float64], drawn: NDArray[np.float64], share: NDArray[np.float64]
) -> tuple[float, float]:
    """Bound CMD; sizes whose `f` may be 1 count nothing towards the lower bound."""
    _, high = _quantiles(np.trapezoid(np.abs(1 - drawn), share).mean(axis=1))
    tail = TAILS[0] / len(share)  # one of many sizes would be on one side by chance
    below, above = np.quantile(drawn.mean(axis=1), (tail, 1 - tail), axis=0)
    side = np.where((below > 1) | (above < 1), np.sign(1 - found.mean(axis=0)), 0)
    low, _ = _quantiles(np.trapezoid(side * (1 - drawn.mean(axis=1)), share))
    return max(0.0, low), high


def _quantiles(values: NDArray[np.float64]) -> tuple[float, float]:
    low, high = np.quantile(values, TAILS)
    return float(low), float(high)

"""Gates that keep one behaviour and lose another (METHOD.md, Contrastive CHG; paper, eq. 2).

1. Rows of the retain and the forget side are paired as they come, each side shuffled by the seed.
2. Minimise `max(alpha * logP_forget - logP_retain, -bound) + lambda_reg * R`, where logP is the
   mean log-probability of a row's target tokens. A mean that ablated heads are replaced by is over
   the retain rows.
3. Several starts are fitted side by side, because there are traps: everything open forgets
   nothing, everything closed retains nothing, and both have no gradient.
4. The start that does both best on held-out rows is kept, and measured with its gates as fitted
   and cut at 0.5.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from chg.ability import partial_forward, ready, shareable
from chg.config import ContrastConfig
from chg.data.batches import MicroBatch, endless_rows, gather
from chg.data.partners import with_partners
from chg.data.tokens import TokenData
from chg.evaluation import SequenceScores, evaluate_gates
from chg.foreign import AnyModel, stock_model
from chg.gate_wrapper import gate_shape
from chg.gates import HeadGates, count_gates
from chg.objectives import contrast_objective, logprobs_of_fits
from chg.optimiser import Update, optimise_gates, starting_logits, updates_between_looks
from chg.partial_forward import PartialForward
from chg.progress import progress_bar
from chg.provenance import describe_config, describe_model, package_versions
from chg.references import Reference, describe_reference, with_reference

logger = logging.getLogger(__name__)

FORGOTTEN_AT_LEAST = 0.1
RETAINED_AT_LEAST = 0.5
"""Shares of the ungated probability below which a warning says that a side failed."""


@dataclass(frozen=True)
class SideFigures:
    """One side on held-out rows: NLL in nats per token, accuracy as a share of target tokens."""

    nll_before: float
    nll_after: float
    nll_thresholded: float
    accuracy_before: float
    accuracy_after: float
    accuracy_thresholded: float

    @property
    def kept(self) -> float:
        """Typical probability of a target after, as a share of that before; at most 1."""
        return min(1.0, math.exp(self.nll_before - self.nll_after))


@dataclass(frozen=True)
class ContrastResult:
    """The best start's gates, and what they do to both sides."""

    gates: HeadGates
    retain: SideFigures
    forget: SideFigures
    start: int
    """Which of the starts was best, counted from 0."""
    starts: tuple[tuple[SideFigures, SideFigures], ...]
    """Retain and forget figures of every start."""
    warnings: tuple[str, ...]
    updates: int
    seconds: float


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
    model = stock_model(model)
    config = config or ContrastConfig(**settings)
    start = starting_logits(config, gate_shape(model, config.unit), config.starts)
    total = total_updates(config, min(len(retain), len(forget)))
    began = time.perf_counter()
    retain, reference = with_reference(model, retain, config)
    if config.ablation == "resample":
        forget, held_out_retain, held_out_forget = (
            with_partners(side, config.seed) for side in (forget, held_out_retain, held_out_forget)
        )
    with progress_bar(total, "fitting contrastive gates", show=show_progress) as bar:

        def on_update(update: Update) -> None:
            bar.update()
            if update.step % updates_between_looks(update.logits.device) and update.step != total:
                return
            counts = count_gates(torch.sigmoid(update.logits))
            losses = " ".join(f"{loss:.2f}" for loss in update.losses.tolist())
            opened = counts.open / config.starts
            bar.set_postfix_str(f"loss {losses} open {opened:.0f} per start", refresh=False)
            if bar.disable and update.step % max(1, total // 5) == 0:
                logger.info("update %d/%d: loss of each start %s", update.step, total, losses)

        pairs = _paired(retain, forget, config, total)
        with partial_forward(model, config.recompute) as forward:
            pad_ids = (retain.pad_id, forget.pad_id)
            loss = _contrast_loss(model, pad_ids, config, forward, reference)
            logits = optimise_gates(model, start, pairs, total, loss, config, on_update)
    seconds = time.perf_counter() - began
    held_out = (held_out_retain, held_out_forget)
    figures = _measure(model, logits, held_out, config, reference)
    metadata = {
        **describe_model(model),
        "dataset": retain.name,
        "forget_dataset": forget.name,
        "data_fingerprint": f"{retain.fingerprint}-{forget.fingerprint}",
        **describe_reference(reference),
    }
    return _result(logits, figures, metadata, config, total, seconds)


def _result(
    logits: Float[Tensor, "fit layer head"],
    figures: list[tuple[SideFigures, SideFigures]],
    metadata: dict[str, Any],
    config: ContrastConfig,
    updates: int,
    seconds: float,
) -> ContrastResult:
    """The best start, with the figures of all."""
    best = max(range(config.starts), key=lambda k: _merit(*figures[k], config))
    metadata = {
        **metadata,
        "lambda_reg": config.lambda_reg,
        "seed": config.seed,
        "alpha": config.alpha,
        "start": best,
        "figures": {"retain": asdict(figures[best][0]), "forget": asdict(figures[best][1])},
        "configuration": describe_config(config),
        "versions": package_versions(),
    }
    return ContrastResult(
        HeadGates(logits[best], metadata),
        *figures[best],
        start=best,
        starts=tuple(figures),
        warnings=_warnings(*figures[best], config),
        updates=updates,
        seconds=seconds,
    )


def total_updates(config: ContrastConfig, rows: int) -> int:
    """Number of updates: `max_steps`, or the smaller side `epochs` times over."""
    per_update = config.batch_size * config.grad_accum_steps
    return config.max_steps or config.epochs * math.ceil(rows / per_update)


def _paired(
    retain: TokenData, forget: TokenData, config: ContrastConfig, total: int
) -> Iterator[list[MicroBatch]]:
    """`grad_accum_steps` passes of pairs of rows per update."""
    streams = [
        endless_rows(side, config.batch_size, torch.Generator().manual_seed(config.seed + i))
        for i, side in enumerate((retain, forget))
    ]
    share = 1 / config.grad_accum_steps
    for _ in range(total):
        yield [
            MicroBatch((next(streams[0]), next(streams[1])), share)
            for _ in range(config.grad_accum_steps)
        ]


def _contrast_loss(
    model: nn.Module,
    pad_ids: tuple[int, int],
    config: ContrastConfig,
    forward: PartialForward | None,
    reference: Reference | None,
) -> Callable[[Tensor, MicroBatch], Tensor]:
    length = shareable(model, reference)

    def loss(gates: Tensor, micro_batch: MicroBatch) -> Tensor:
        sides = zip(micro_batch.sides, pad_ids, strict=True)
        both = [ready(model, gather(rows, pad_id, length)) for rows, pad_id in sides]
        kept, lost = (logprobs_of_fits(model, gates, side, forward, reference) for side in both)
        objective = contrast_objective(kept, lost, alpha=config.alpha, bound=config.bound)
        return objective.mean(1) * micro_batch.share

    return loss


def _measure(
    model: nn.Module,
    logits: Tensor,
    held_out: tuple[TokenData, TokenData],
    config: ContrastConfig,
    reference: Reference | None,
) -> list[tuple[SideFigures, SideFigures]]:
    """Figures of both sides for every start."""
    fits = [HeadGates(one) for one in logits]
    matrices = [torch.ones(logits.shape[1:])]
    for fit in fits:
        matrices += [fit.values, fit.thresholded]
    sides = []
    for data in held_out:
        sample = data.sample(config.eval_rows, config.seed)
        before, *after = evaluate_gates(
            model, sample, matrices, batch_size=config.batch_size, reference=reference
        )
        sides.append([_side(before, after[2 * k], after[2 * k + 1]) for k in range(len(fits))])
    return list(zip(*sides, strict=True))


def _side(
    before: SequenceScores, after: SequenceScores, thresholded: SequenceScores
) -> SideFigures:
    return SideFigures(
        before.nll,
        after.nll,
        thresholded.nll,
        before.accuracy,
        after.accuracy,
        thresholded.accuracy,
    )


def _merit(retain: SideFigures, forget: SideFigures, config: ContrastConfig) -> tuple[float, float]:
    """How good a start is: the weaker of retaining and forgetting, then the objective itself."""
    objective = -max(retain.nll_after - config.alpha * forget.nll_after, -config.bound)
    if config.alpha == 0:
        return 0.0, objective
    return min(retain.kept, 1 - forget.kept), objective


def _warnings(retain: SideFigures, forget: SideFigures, config: ContrastConfig) -> tuple[str, ...]:
    found = []
    if config.alpha > 0 and 1 - forget.kept < FORGOTTEN_AT_LEAST:
        found.append(
            "nothing was forgotten: the forget side is as likely as before; try a larger --alpha,"
            " a --lambda_reg above 0, or more --starts"
        )
    if retain.kept < RETAINED_AT_LEAST:
        found.append(
            "the retain side was lost: less than half of its probability is left; try a smaller "
            "--alpha, or a --lambda_reg below 0"
        )
    return tuple(found)

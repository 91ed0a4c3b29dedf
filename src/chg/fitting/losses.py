"""Losses of gates: of a fit, of a contrastive fit, and the regularizer (docs/method.md#fitting)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from chg.data import Batch
from chg.engine import Engine, Targets
from chg.fitting.contrast_measures import ContrastPlan
from chg.fitting.updates import MicroBatch
from chg.gating import LOGIT_BOUND

Loss = Callable[[Tensor, Tensor, MicroBatch], Tensor]
"""`loss(gates [fit, layer, head], which [fit], micro_batch) -> [fit]`, this micro-batch's share;
`which` holds the places of these fits among all."""


def metric_loss(engine: Engine, pad_id: int) -> Loss:
    """Make the loss of fitting: minus the engine's metric, so that it is the NLL for `logprob`.

    Mean over rows of the mean over each row's target tokens, nats.
    """

    last: list[tuple[MicroBatch, Batch, Targets]] = []

    def loss(gates: Tensor, _which: Tensor, micro_batch: MicroBatch) -> Tensor:
        if not last or last[0][0] is not micro_batch:  # all fits see it, one after another
            batch = engine.batch(micro_batch.sides[0], pad_id)
            last[:] = [(micro_batch, batch, engine.targets_of(batch))]
        _, batch, targets = last[0]
        return -engine.measure(gates, batch, targets).mean(1) * micro_batch.share

    return loss


def contrast_loss(
    engine: Engine, pad_ids: tuple[int, int], plan: Sequence[ContrastPlan], bound: float
) -> Loss:
    """Make the objective of every fit, each in its direction and with its weight of forgetting.

    Args:
        engine: the model.
        pad_ids: padding of the retain and of the forget rows.
        plan: direction and weight of forgetting of each fit.
        bound: nats per token by which the retain side must beat the forget side.
    """
    swapped = torch.tensor([[fit.reversed] for fit in plan])
    alphas = torch.tensor([[fit.alpha] for fit in plan])

    def loss(gates: Tensor, which: Tensor, micro_batch: MicroBatch) -> Tensor:
        sides = zip(micro_batch.sides, pad_ids, strict=True)
        first, second = (engine.measure(gates, engine.batch(*side)) for side in sides)
        places = which.to(swapped.device)
        swap, alpha = swapped[places].to(first.device), alphas[places].to(first.device)
        retain, forget = torch.where(swap, second, first), torch.where(swap, first, second)
        objective = contrast_objective(retain, forget, alpha=alpha, bound=bound)
        return objective.mean(1) * micro_batch.share

    return loss


def gate_regularizer(
    logits: Float[Tensor, "fit *heads"], *, per_head: bool = False
) -> Float[Tensor, "fit"]:
    """Compute `R` of the objective `NLL + lambda_reg * R`: the clamped logits, averaged over heads.

    Paper, eq. 1 (which sums: `per_head`) and appendix 6.2 (whose code averages).
    """
    clamped = logits.clamp(-LOGIT_BOUND, LOGIT_BOUND).flatten(1)
    return clamped.sum(1) if per_head else clamped.mean(1)


def contrast_objective(
    retain: Float[Tensor, "*any"],
    forget: Float[Tensor, "*any"],
    *,
    alpha: float | Float[Tensor, "fit 1"],
    bound: float,
) -> Float[Tensor, "*any"]:
    """Compute `max(alpha * logP_forget - logP_retain, -bound)` (paper, eq. 2), to be minimized.

    The lower bound keeps forgetting from running away. The paper clips above as well; there the
    clip would only take the gradient from a pair that is still on the wrong side.
    """
    return (alpha * forget - retain).clamp(min=-bound)

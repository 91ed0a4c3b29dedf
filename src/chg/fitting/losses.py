"""Losses of gates: of a fit, of a contrastive fit, and the regularizer."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from chg.data import gather
from chg.engine import PartialForward, logprobs_of_fits, max_shared_length, ready
from chg.fitting.contrast_measures import ContrastPlan
from chg.fitting.updates import MicroBatch
from chg.gating import LOGIT_BOUND, Reference


def contrast_loss(
    model: nn.Module,
    pad_ids: tuple[int, int],
    plan: list[ContrastPlan],
    bound: float,
    forward: PartialForward | None,
    reference: Reference | None,
) -> Loss:
    """The objective of every fit, each in its direction and with its weight of forgetting."""
    length = max_shared_length(model, reference)
    swapped = torch.tensor([[fit.reversed] for fit in plan])
    alphas = torch.tensor([[fit.alpha] for fit in plan])

    def loss(gates: Tensor, which: Tensor, micro_batch: MicroBatch) -> Tensor:
        sides = zip(micro_batch.sides, pad_ids, strict=True)
        both = [ready(model, gather(rows, pad_id, length)) for rows, pad_id in sides]
        first, second = (logprobs_of_fits(model, gates, side, forward, reference) for side in both)
        own = which.to(swapped.device)
        swap, alpha = swapped[own].to(first.device), alphas[own].to(first.device)
        kept, lost = torch.where(swap, second, first), torch.where(swap, first, second)
        objective = contrast_objective(kept, lost, alpha=alpha, bound=bound)
        return objective.mean(1) * micro_batch.share

    return loss


def nll_loss(
    model: nn.Module,
    pad_id: int,
    forward: PartialForward | None,
    reference: Reference | None = None,
) -> Loss:
    """The loss of fitting: mean over rows of the mean over each row's target tokens, nats."""
    length = max_shared_length(model, reference)

    def loss(gates: Tensor, _which: Tensor, micro_batch: MicroBatch) -> Tensor:
        batch = ready(model, gather(micro_batch.sides[0], pad_id, length))
        logprobs = logprobs_of_fits(model, gates, batch, forward, reference)
        return -logprobs.mean(1) * micro_batch.share

    return loss


def gate_regularizer(
    logits: Float[Tensor, "fit *heads"], *, per_head: bool = False
) -> Float[Tensor, "fit"]:
    """`R` of the objective `NLL + lambda_reg * R`: the clamped logits, averaged over heads.

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
    """`max(alpha * logP_forget - logP_retain, -bound)` (paper, eq. 2), to be minimised.

    The lower bound keeps forgetting from running away. The paper clips above as well; there the
    clip would only take the gradient from a pair that is still on the wrong side.
    """
    return (alpha * forget - retain).clamp(min=-bound)


Loss = Callable[[Tensor, Tensor, MicroBatch], Tensor]
"""`loss(gates [fit, layer, head], which [fit], micro_batch) -> [fit]`, this micro-batch's share;
`which` says which of all fits these are."""

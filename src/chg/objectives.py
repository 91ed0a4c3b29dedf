"""What is measured and minimised: log-probabilities of target tokens, in nats per token.

The logits are computed in the model's dtype, everything after them in float32 (METHOD.md).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from chg.data.batches import Batch
from chg.gate_wrapper import gated
from chg.gates import LOGIT_BOUND


@dataclass(frozen=True)
class TargetScores:
    """Scores of every target token of a batch, row after row."""

    logprobs: Float[Tensor, "target"]
    correct: Bool[Tensor, "target"]
    """Whether the target was the most likely token."""
    rows: Int[Tensor, "target"]
    """Row of the batch each target belongs to."""
    num_rows: int

    def row_sums(self, values: Tensor) -> Float[Tensor, "row"]:
        """Sum values of targets over each row."""
        zeros = torch.zeros(self.num_rows, dtype=values.dtype, device=values.device)
        return zeros.index_add(0, self.rows, values)

    def row_counts(self) -> Float[Tensor, "row"]:
        """Target tokens of each row."""
        return self.row_sums(torch.ones_like(self.logprobs))

    def row_mean_logprobs(self) -> Float[Tensor, "row"]:
        """Mean log-probability of each row's targets, nats per token."""
        return self.row_sums(self.logprobs) / self.row_counts()


def target_scores(model: nn.Module, batch: Batch) -> TargetScores:
    """Run a batch and score its target tokens; gates are whatever is attached."""
    logits = model(
        input_ids=batch.input_ids, attention_mask=batch.attention_mask, use_cache=False
    ).logits
    rows, before = batch.targets[:, 1:].nonzero(as_tuple=True)
    scored = logits[rows.to(logits.device), before.to(logits.device)]
    scored = scored.to(torch.promote_types(scored.dtype, torch.float32))
    ids = batch.input_ids
    tokens = ids[rows.to(ids.device), before.to(ids.device) + 1].to(logits.device)
    return TargetScores(
        logprobs=-F.cross_entropy(scored, tokens, reduction="none"),
        correct=scored.argmax(-1) == tokens,
        rows=rows.to(logits.device),
        num_rows=len(batch),
    )


def logprobs_of_fits(
    model: nn.Module, gates: Float[Tensor, "fit layer head"], batch: Batch
) -> Float[Tensor, "fit row"]:
    """Mean target log-probability of every row under every fit's gates, in one forward pass.

    Each row is repeated once per fit and given that fit's gate matrix. Gradients reach `gates`.
    """
    fits = gates.shape[0]
    # One gate matrix for all rows spares the batch its copy of the gates.
    per_row = gates[0] if fits == 1 else gates.repeat_interleave(len(batch), dim=0)
    with gated(model, per_row, check=False):
        scores = target_scores(model, batch.repeat(fits))
    return scores.row_mean_logprobs().view(fits, len(batch))


def gate_regulariser(
    logits: Float[Tensor, "fit *heads"], *, per_head: bool = False
) -> Float[Tensor, "fit"]:
    """`R` of the objective `NLL + lambda_reg * R`: the clamped logits, averaged over heads.

    Paper, eq. 1 (which sums: `per_head`) and appendix 6.2 (whose code averages).
    """
    clamped = logits.clamp(-LOGIT_BOUND, LOGIT_BOUND).flatten(1)
    return clamped.sum(1) if per_head else clamped.mean(1)


def contrast_objective(
    retain: Float[Tensor, "*any"], forget: Float[Tensor, "*any"], *, alpha: float, bound: float
) -> Float[Tensor, "*any"]:
    """`max(alpha * logP_forget - logP_retain, -bound)` (paper, eq. 2), to be minimised.

    The lower bound keeps forgetting from running away. The paper clips above as well; there the
    clip would only take the gradient from a pair that is still on the wrong side.
    """
    return (alpha * forget - retain).clamp(min=-bound)

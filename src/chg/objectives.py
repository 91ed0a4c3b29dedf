"""What is measured and minimised: log-probabilities of target tokens, in nats per token.

The logits are computed in the model's dtype, everything after them in float32 (METHOD.md).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from chg.data.batches import Batch
from chg.gate_wrapper import gated
from chg.gates import LOGIT_BOUND
from chg.references import Reference, for_rows

if TYPE_CHECKING:
    from chg.partial_forward import PartialForward


@dataclass(frozen=True)
class TargetScores:
    """Scores of every target token of a batch, in its order."""

    logprobs: Float[Tensor, "target"]
    correct: Bool[Tensor, "target"]
    """Whether no token was more likely than the target."""
    sequences: Int[Tensor, "target"]
    """Sequence of the batch each target belongs to."""
    num_sequences: int

    def sums(self, values: Tensor) -> Float[Tensor, "sequence"]:
        """Sum values of targets over each sequence."""
        zeros = torch.zeros(self.num_sequences, dtype=values.dtype, device=values.device)
        return zeros.index_add(0, self.sequences, values)

    def counts(self) -> Float[Tensor, "sequence"]:
        """Target tokens of each sequence."""
        return self.sums(torch.ones_like(self.logprobs))

    def mean_logprobs(self) -> Float[Tensor, "sequence"]:
        """Mean log-probability of each sequence's targets, nats per token."""
        return self.sums(self.logprobs) / self.counts()


def target_scores(model: nn.Module, batch: Batch) -> TargetScores:
    """Run a whole batch plainly and score its target tokens; gates are whatever is attached."""
    logits = model(**batch.inputs, use_cache=False).logits
    scored = logits.flatten(0, 1)[batch.scored.to(logits.device)]
    logprobs, correct = _score(scored, batch.tokens.to(logits.device))
    return _scores(logprobs, correct, batch)


def score_leaving(head: Head, leaving: Tensor, batch: Batch) -> TargetScores:
    """Score target tokens from what left the last layer at their positions (`PartialForward`).

    Logits are made and forgotten in pieces. Where gradients are wanted, each piece leaves its own
    behind at once: those of one target's log-probability do not depend on another's.
    """
    tokens = batch.tokens.to(leaving.device)
    if torch.is_grad_enabled() and leaving.requires_grad:
        logprobs, correct = _ScoredInPieces.apply(leaving, tokens, head)  # type: ignore[no-untyped-call]
    else:
        logprobs, correct = _in_pieces(head, leaving, tokens)
    return _scores(logprobs, correct, batch)


Head = Callable[[Float[Tensor, "target 1 *width"]], Float[Tensor, "target vocab"]]
"""From what leaves the last layer to logits."""

PIECE = 256
"""Positions whose logits are alive at once; half as many where gradients are too."""


def _in_pieces(head: Head, leaving: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
    pieces = [
        _score(head(hidden), wanted)
        for hidden, wanted in zip(leaving.split(PIECE), tokens.split(PIECE), strict=True)
    ]
    logprobs, correct = (torch.cat(values) for values in zip(*pieces, strict=True))
    return logprobs, correct


class _ScoredInPieces(torch.autograd.Function):
    """`_in_pieces` with the gradient of every target's log-probability taken on the way."""

    @staticmethod
    def forward(ctx: Any, leaving: Tensor, tokens: Tensor, head: Head) -> tuple[Tensor, Tensor]:
        pieces = []
        slopes = torch.empty_like(leaving)
        start, size = 0, max(1, PIECE // 2)
        for hidden, wanted in zip(leaving.split(size), tokens.split(size), strict=True):
            with torch.enable_grad():
                hidden = hidden.detach().requires_grad_()
                logprobs, correct = _score(head(hidden), wanted)
                (slope,) = torch.autograd.grad(logprobs.sum(), hidden)
            slopes[start : start + len(hidden)] = slope
            start += len(hidden)
            pieces.append((logprobs.detach(), correct))
        ctx.save_for_backward(slopes)
        logprobs, correct = (torch.cat(values) for values in zip(*pieces, strict=True))
        ctx.mark_non_differentiable(correct)
        return logprobs, correct

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (slopes,) = ctx.saved_tensors
        scale = gradients[0].view(-1, *[1] * (slopes.dim() - 1))
        return (slopes * scale).to(slopes.dtype), None, None


def _score(logits: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probabilities of tokens, and whether none is more likely, in (at least) float32."""
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    targets = logits.detach().gather(1, tokens[:, None])[:, 0]
    logprobs = -functional.cross_entropy(logits, tokens, reduction="none")
    return logprobs, targets >= logits.detach().amax(1)


def _scores(logprobs: Tensor, correct: Tensor, batch: Batch) -> TargetScores:
    sequences = batch.sequences.to(logprobs.device)
    return TargetScores(logprobs, correct, sequences, batch.num_sequences)


def logprobs_of_fits(
    model: nn.Module,
    gates: Float[Tensor, "fit layer head"],
    batch: Batch,
    forward: PartialForward | None = None,
    reference: Reference | None = None,
) -> Float[Tensor, "fit sequence"]:
    """Mean target log-probability of every sequence under every fit's gates, in one pass.

    Each row is repeated once per fit and given that fit's gate matrix. Gradients reach `gates`.
    With `forward`, only what is scored is carried above the last attention. With `reference`, gates
    blend heads with it.
    """
    fits = gates.shape[0]
    many = batch.repeat(fits)
    rows = batch.input_ids.shape[0]
    fill = None if reference is None else reference.of(model, batch)
    if forward is not None:
        per_row = forward.sites.per_head(gates).repeat_interleave(rows, dim=0)
        leaving, _ = forward.run(many.inputs, per_row, many.scored, reference=fill)
        scores = score_leaving(forward.head, leaving, many)
    else:
        # One gate matrix for all rows spares the batch its copy of the gates.
        per_row = gates[0] if fits == 1 else gates.repeat_interleave(rows, dim=0)
        if fill is not None:
            fill = {layer: for_rows(value, fits * rows) for layer, value in fill.items()}
        with gated(model, per_row, reference=fill, check=False):
            scores = target_scores(model, many)
    return scores.mean_logprobs().view(fits, len(batch))


def gate_regulariser(
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

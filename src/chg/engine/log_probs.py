"""Log-probabilities of target tokens, in nats per token: the metric, and the loss of every fit.

The logits are computed in the model's dtype, everything after them in (at least) float32.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from chg.data import Batch


def on_device_of(model: nn.Module, batch: Batch) -> Batch:
    """Move a batch to the model's device, and to its precision what is added to scores."""
    weight = model.get_input_embeddings().weight  # type: ignore[operator]
    return batch.to(weight.device, weight.dtype)


@dataclass(frozen=True)
class TargetScores:
    """Scores of every target token of a batch, in its order."""

    logprobs: Float[Tensor, "target"]
    correct: Bool[Tensor, "target"]
    """True where no token was more likely than the target."""
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


def score_hidden(head: LMHead, hidden: Tensor, batch: Batch) -> TargetScores:
    """Score target tokens from the output of the last layer at their positions (`PartialForward`).

    Logits are made and forgotten in pieces. Where gradients are wanted, each piece leaves its own
    behind at once: those of one target's log-probability do not depend on another's.
    """
    tokens = batch.tokens.to(hidden.device)
    if torch.is_grad_enabled() and hidden.requires_grad:
        logprobs, correct = _ScoredInPieces.apply(hidden, tokens, head)  # type: ignore[no-untyped-call]
    else:
        logprobs, correct = _in_pieces(head, hidden, tokens)
    return _scores(logprobs, correct, batch)


LMHead = Callable[[Float[Tensor, "target 1 *width"]], Float[Tensor, "target vocab"]]
"""From the output of the last layer to logits."""

PIECE = 256
"""Positions whose logits are alive at once; half as many where gradients are too."""


def _in_pieces(head: LMHead, hidden: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
    pieces = [
        _score(head(piece), wanted)
        for piece, wanted in zip(hidden.split(PIECE), tokens.split(PIECE), strict=True)
    ]
    logprobs, correct = (torch.cat(values) for values in zip(*pieces, strict=True))
    return logprobs, correct


class _ScoredInPieces(torch.autograd.Function):
    """`_in_pieces` with the gradient of every target's log-probability taken on the way."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, tokens: Tensor, head: LMHead) -> tuple[Tensor, Tensor]:
        pieces = []
        slopes = torch.empty_like(hidden)
        start, size = 0, max(1, PIECE // 2)
        for piece, wanted in zip(hidden.split(size), tokens.split(size), strict=True):
            with torch.enable_grad():
                piece = piece.detach().requires_grad_()
                logprobs, correct = _score(head(piece), wanted)
                (slope,) = torch.autograd.grad(logprobs.sum(), piece)
            slopes[start : start + len(piece)] = slope
            start += len(piece)
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

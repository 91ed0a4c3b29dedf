"""Scores of target tokens: the metric, the log-probability in nats, and whether they came first.

Logits are made and forgotten in pieces where a pass ends with the last layer (`score_hidden`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from chg.data import Batch
from chg.engine.targets import LMHead, Targets


def on_device_of(model: nn.Module, batch: Batch) -> Batch:
    """Move a batch to the model's device, and to its precision what is added to scores."""
    weight = model.get_input_embeddings().weight  # type: ignore[operator]
    return batch.to(weight.device, weight.dtype)


@dataclass(frozen=True)
class TargetScores:
    """Scores of every target token of a batch, in its order."""

    values: Float[Tensor, "target"]
    """The metric, which gradients go through; the log-probabilities where it is these."""
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

    def means(self) -> Float[Tensor, "sequence"]:
        """Mean metric of each sequence's targets, nats per token."""
        return self.sums(self.values) / self.counts()


def scored_logits(model: nn.Module, batch: Batch) -> Float[Tensor, "target vocab"]:
    """Run a whole batch plainly; the logits at scored positions. Gates are whatever is attached."""
    logits: Tensor = model(**batch.inputs, use_cache=False).logits
    return logits.flatten(0, 1)[batch.scored.to(logits.device)]


def target_scores(model: nn.Module, batch: Batch, targets: Targets | None = None) -> TargetScores:
    """Run a whole batch plainly and score its target tokens, by log-probability if not told."""
    logits = scored_logits(model, batch)
    scored = (targets or Targets.of(batch)).to(logits.device).score(logits)
    return _scores(scored, batch)


def score_hidden(
    head: LMHead, hidden: Tensor, batch: Batch, targets: Targets | None = None
) -> TargetScores:
    """Score target tokens from the output of the last layer at their positions (`PartialForward`).

    Logits are made and forgotten in pieces. Where gradients are wanted, each piece leaves its own
    behind at once: those of one target's metric do not depend on another's.
    """
    targets = (targets or Targets.of(batch)).to(hidden.device)
    if torch.is_grad_enabled() and hidden.requires_grad:
        scored = _ScoredInPieces.apply(hidden, targets, head)  # type: ignore[no-untyped-call]
    else:
        pieces = zip(hidden.split(PIECE), targets.split(PIECE), strict=True)
        scored = _joined([wanted.score(head(piece), head) for piece, wanted in pieces])
    return _scores(scored, batch)


PIECE = 256
"""Positions whose logits are alive at once; half as many where gradients are too."""


class _ScoredInPieces(torch.autograd.Function):
    """Scores in pieces, with the gradient of every target's metric taken on the way."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, targets: Targets, head: LMHead
    ) -> tuple[Tensor, Tensor, Tensor]:
        pieces = []
        slopes = torch.empty_like(hidden)
        start, size = 0, max(1, PIECE // 2)
        for piece, wanted in zip(hidden.split(size), targets.split(size), strict=True):
            with torch.enable_grad():
                piece = piece.detach().requires_grad_()
                values, logprobs, correct = wanted.score(head(piece), head)
                (slope,) = torch.autograd.grad(values.sum(), piece)
            slopes[start : start + len(piece)] = slope
            start += len(piece)
            pieces.append((values.detach(), logprobs.detach(), correct))
        ctx.save_for_backward(slopes)
        values, logprobs, correct = _joined(pieces)
        ctx.mark_non_differentiable(logprobs, correct)
        return values, logprobs, correct

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (slopes,) = ctx.saved_tensors
        scale = gradients[0].view(-1, *[1] * (slopes.dim() - 1))
        return (slopes * scale).to(slopes.dtype), None, None


def _joined(pieces: list[tuple[Tensor, Tensor, Tensor]]) -> tuple[Tensor, Tensor, Tensor]:
    values, logprobs, correct = (torch.cat(parts) for parts in zip(*pieces, strict=True))
    return values, logprobs, correct


def _scores(scored: tuple[Tensor, Tensor, Tensor], batch: Batch) -> TargetScores:
    values, logprobs, correct = scored
    sequences = batch.sequences.to(values.device)
    return TargetScores(values, logprobs, correct, sequences, batch.num_sequences)

"""Scoring a data set under gate matrices: the one kind of evaluation every command is made of.

This is the plain reference: one full forward pass over the data per gate matrix.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from chg.architectures import input_device
from chg.data.batches import batches
from chg.data.tokens import TokenData
from chg.gate_wrapper import frozen, gate_shape, gated
from chg.objectives import target_scores


@dataclass(frozen=True)
class SequenceScores:
    """Scores of every sequence of a data set under one gate matrix."""

    logprob_sums: NDArray[np.float64]
    """`[sequence]`: summed log-probability of its target tokens, nats."""
    correct: NDArray[np.float64]
    """`[sequence]`: target tokens that were the most likely one."""
    counts: NDArray[np.float64]
    """`[sequence]`: target tokens."""

    @property
    def mean_target_logprob(self) -> float:
        """Mean over all target tokens, nats per token: the metric of ablation (METHOD.md)."""
        return float(self.logprob_sums.sum() / self.counts.sum())

    @property
    def nll(self) -> float:
        """Mean over sequences of the mean over their targets: the loss of fitting (METHOD.md)."""
        return -float((self.logprob_sums / self.counts).mean())

    @property
    def accuracy(self) -> float:
        """Share of target tokens that are the most likely one, averaged over sequences."""
        return float((self.correct / self.counts).mean())


def evaluate_gates(
    model: nn.Module,
    data: TokenData,
    gate_matrices: Iterable[Float[Tensor, "layer head"]],
    *,
    batch_size: int = 4,
) -> Iterator[SequenceScores]:
    """Score the data under each gate matrix in turn, yielding as they are done.

    Args:
        model: a causal language model; its weights and flags are left as they are.
        data: rows with their target tokens.
        gate_matrices: gates in [0, 1], each `[layer, head]`.
        batch_size: rows per forward pass; the result does not depend on it.

    Raises:
        ArchitectureError, GateError: as `gated`.
    """
    device = input_device(model)
    with frozen(model), gated(model, torch.ones(gate_shape(model))) as handle:
        for gates in gate_matrices:
            handle.gates = gates.to(device)
            yield _score(model, data, batch_size, device)


def evaluate(
    model: nn.Module,
    data: TokenData,
    gates: Float[Tensor, "layer head"] | None = None,
    *,
    batch_size: int = 4,
) -> SequenceScores:
    """Score the data under one gate matrix, or ungated."""
    if gates is None:
        gates = torch.ones(gate_shape(model))
    return next(iter(evaluate_gates(model, data, [gates], batch_size=batch_size)))


@torch.no_grad()
def _score(
    model: nn.Module, data: TokenData, batch_size: int, device: torch.device
) -> SequenceScores:
    sums, correct, counts = (np.zeros(len(data)) for _ in range(3))
    for indices, batch in batches(data, batch_size):
        scores = target_scores(model, batch.to(device))
        sums[indices] = scores.row_sums(scores.logprobs.double()).cpu().numpy()
        correct[indices] = scores.row_sums(scores.correct.double()).cpu().numpy()
        counts[indices] = scores.row_counts().cpu().numpy()
    return SequenceScores(sums, correct, counts)

"""Scoring a data set under gate matrices: the one kind of evaluation every command is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from chg.data import Batch, TokenData, batches
from chg.engine.engine import max_shared_length, partial_forward, token_budget
from chg.engine.log_probs import TargetScores, ready, target_scores
from chg.engine.prefix_tree import build_tree, row_keys
from chg.engine.score_tree import score_tree
from chg.gating import Reference, attach, gated
from chg.models import AnyModel, find_head_sites, frozen, gate_shape, input_device, unwrap_model


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


Evaluate = Callable[[str, Sequence[Tensor]], list[SequenceScores]]
"""`evaluate(name, gate_matrices)` scores held-out rows; the name says what is being measured."""


def evaluate_gates(
    model: AnyModel,
    data: TokenData,
    gate_matrices: Iterable[Float[Tensor, "layer head"]],
    *,
    batch_size: int = 16,
    slab: int | None = None,
    controls: bool = False,
    reference: Reference | None = None,
    on_progress: Callable[[float], None] | None = None,
) -> list[SequenceScores]:
    """Score the data under each gate matrix.

    Whatever matrices share is computed once, and only what is scored is carried to the end
    (`engine.py`); the result is that of plain forward passes, one per matrix.

    Args:
        model: a causal language model; its weights and flags are left as they are.
        data: rows with their target tokens.
        gate_matrices: gates in [0, 1], each `[layer, head]`, or `[layer, kv_group]`.
        batch_size: rows that run together at most; the result does not depend on it.
        slab: tokens per pass, about; chosen for the device if not given.
        controls: score each matrix by its difference from the first one computed beside it, so that
            rounding cancels; for low precision.
        reference: what gates below 1 blend heads with, in place of zeros (`make_reference`).
        on_progress: called with the share of the work that each pass did.

    Raises:
        ArchitectureError, GateError: as `gated`.
        DataError: the reference is by row, and rows have none.
    """
    model = unwrap_model(model)
    device = input_device(model)
    gates, places = _distinct(model, list(gate_matrices))
    gates = gates.to(device)
    totals = _Totals(len(gates), len(data))
    work = len(gates) * sum(len(row.ids) for row in data.rows)
    with frozen(model), partial_forward(model) as forward:
        slab = slab or token_budget(device)
        tree = None if forward is None else build_tree(list(gates))
        tokens = slab if forward is None else slab // gates.shape[-1]
        for indices, batch in batches(
            data, batch_size, tokens, max_shared_length(model, reference)
        ):
            batch = ready(model, batch)
            fill = None if reference is None else reference.of(model, batch)
            if forward is None or tree is None:
                scored = _score_plainly(model, gates, batch, fill)
            else:
                scored = score_tree(
                    forward, tree, gates, batch, slab, controls=controls, reference=fill
                )
            for matrices, scores in scored:
                totals.add(matrices, indices, scores)
                if on_progress is not None:
                    on_progress(len(matrices) * batch.num_tokens / work)
    return [totals.of(place) for place in places]


def evaluate(
    model: AnyModel,
    data: TokenData,
    gates: Float[Tensor, "layer head"] | None = None,
    *,
    batch_size: int = 16,
    reference: Reference | None = None,
) -> SequenceScores:
    """Score the data under one gate matrix, or ungated."""
    model = unwrap_model(model)
    if gates is None:
        gates = torch.ones(gate_shape(model))
    return evaluate_gates(model, data, [gates], batch_size=batch_size, reference=reference)[0]


def _distinct(
    model: nn.Module, matrices: list[Tensor]
) -> tuple[Float[Tensor, "matrix layer head"], list[int]]:
    """One gate per head, every matrix once; and where each of the list is."""
    together = torch.stack(matrices)
    attach(model, together).remove()  # the checks
    seen: dict[tuple[bytes, ...], int] = {}
    places = [seen.setdefault(tuple(row_keys(matrix)), len(seen)) for matrix in together]
    first = [places.index(place) for place in range(len(seen))]
    sites = find_head_sites(model)
    gates = sites.per_head(together[first])
    return gates.masked_fill(~sites.existing().to(gates.device), 0), places


@torch.no_grad()
def _score_plainly(
    model: nn.Module,
    gates: Float[Tensor, "matrix layer head"],
    batch: Batch,
    fill: Mapping[int, Tensor] | None,
) -> Iterator[tuple[list[int], TargetScores]]:
    for i, matrix in enumerate(gates):
        with gated(model, matrix, reference=fill, check=False):
            yield [i], target_scores(model, batch)


class _Totals:
    """Scores of every sequence under every gate matrix."""

    def __init__(self, matrices: int, sequences: int) -> None:
        self._sums, self._correct, self._counts = np.zeros((3, matrices, sequences))

    def add(self, matrices: list[int], sequences: list[int], scores: TargetScores) -> None:
        """Note the scores of some sequences under some matrices."""
        place = np.ix_(matrices, sequences)
        for total, values in (
            (self._sums, scores.sums(scores.logprobs.double())),
            (self._correct, scores.sums(scores.correct.double())),
            (self._counts, scores.counts()),
        ):
            total[place] = values.view(len(matrices), -1).cpu().numpy()

    def of(self, matrix: int) -> SequenceScores:
        """The scores under one matrix."""
        return SequenceScores(self._sums[matrix], self._correct[matrix], self._counts[matrix])

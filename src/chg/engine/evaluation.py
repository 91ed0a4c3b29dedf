"""Evaluation: a data set scored under a list of gate matrices."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from chg.config import Metric, Unit
from chg.data import TokenData, scored_for
from chg.engine.engine import Engine, open_engine
from chg.engine.prefix_tree import row_keys
from chg.engine.target_scores import TargetScores
from chg.errors import ModelError
from chg.gating import (
    AnyGates,
    Reference,
    attach,
    gate_values,
    require_reference_for,
    require_rows_for,
    resolve_gates,
)
from chg.models import AnyModel, find_head_sites, plain_torch


@dataclass(frozen=True)
class SequenceScores:
    """Scores of every sequence of a data set under one gate matrix."""

    logprob_sums: NDArray[np.float64]
    """`[sequence]`: summed log-probability of its target tokens, nats."""
    correct: NDArray[np.float64]
    """`[sequence]`: target tokens that were the most likely one."""
    counts: NDArray[np.float64]
    """`[sequence]`: target tokens."""
    metric_sums: NDArray[np.float64] | None = None
    """`[sequence]`: summed metric, nats; None where it is the log-probability."""

    def __repr__(self) -> str:
        return (
            f"<SequenceScores of {len(self.counts)} sequences, {self.counts.sum():.0f} target "
            f"tokens: NLL {self.nll:.4f} nats per token, accuracy {self.accuracy:.1%}>"
        )

    @property
    def sums(self) -> NDArray[np.float64]:
        """`[sequence]`: summed metric of its target tokens, nats."""
        return self.logprob_sums if self.metric_sums is None else self.metric_sums

    @property
    def metric(self) -> float:
        """Mean of the metric over all target tokens, nats per token: what ablation changes."""
        return float(self.sums.sum() / self.counts.sum())

    @property
    def mean_target_logprob(self) -> float:
        """Mean log-probability over all target tokens, nats per token."""
        return float(self.logprob_sums.sum() / self.counts.sum())

    @property
    def nll(self) -> float:
        """Mean over sequences of the mean over their targets: the loss of fitting."""
        return -float((self.logprob_sums / self.counts).mean())

    @property
    def accuracy(self) -> float:
        """Share of target tokens that are the most likely one, averaged over sequences."""
        return float((self.correct / self.counts).mean())


Evaluate = Callable[[str, Sequence[Tensor]], list[SequenceScores]]
"""`evaluate(name, gate_matrices)` scores held-out rows; the name says what is being measured."""


@plain_torch()
def evaluate_gates(
    model: AnyModel,
    data: TokenData,
    gate_matrices: Iterable[AnyGates],
    *,
    batch_size: int = 16,
    tokens_per_pass: int | None = None,
    controls: bool = False,
    reference: Reference | None = None,
    metric: Metric = "logprob",
    on_progress: Callable[[float], None] | None = None,
) -> list[SequenceScores]:
    """Score the data under each gate matrix.

    Whatever matrices share is computed once, and only what is scored is carried to the end
    (`score_tree.py`); the result is that of plain forward passes, one per matrix.

    Args:
        model: a causal language model; its weights and flags are left as they are.
        data: rows with their target tokens.
        gate_matrices: gates in [0, 1], each `[layer, head]`, `[layer, kv_group]`, or with a column
            more for MLP blocks, in any form that `gated` takes.
        batch_size: rows that run together at most; the result does not depend on it.
        tokens_per_pass: about as many tokens run together; chosen for the device if not given.
        controls: score each matrix by its difference from the first one computed beside it, so that
            rounding cancels; for low precision.
        reference: what gates below 1 blend heads with, in place of zeros (`make_reference`).
        metric: what is measured beside the log-probability of the targets; `logit_diff` scores rows
            where their foils part from their targets.
        on_progress: called with the share of the work that each pass did.

    Raises:
        ArchitectureError, GateError, ResultsError: as `gated`.
        DataError: the model cannot read a row, or the reference is by row, and rows have none.
        ModelError: a log-probability is NaN or infinite.
    """
    options = EvaluationOptions(batch_size, tokens_per_pass, controls, on_progress)
    matrices = [gate_values(resolve_gates(model, gates)) for gates in gate_matrices]
    with open_engine(model, reference=reference, metric=metric) as engine:
        return evaluate_open(engine, scored_for(data, metric), matrices, options)


@dataclass(frozen=True)
class EvaluationOptions:
    """Options of an evaluation, as those of `evaluate_gates`."""

    batch_size: int = 16
    tokens_per_pass: int | None = None
    controls: bool = False
    on_progress: Callable[[float], None] | None = None


def evaluate_open(
    engine: Engine,
    data: TokenData,
    gate_matrices: Iterable[Float[Tensor, "layer head"]],
    options: EvaluationOptions,
) -> list[SequenceScores]:
    """Score the data under each gate matrix with a model that is open already.

    Raises:
        ArchitectureError, GateError, DataError, ModelError: as `evaluate_gates`.
    """
    require_rows_for(engine.model, data)
    gates, places = _distinct(engine, list(gate_matrices))
    totals = _Totals(len(gates), len(data), engine.metric)
    work = len(gates) * sum(len(row.ids) for row in data.rows)
    scorer = engine.scorer(gates, tokens=options.tokens_per_pass, controls=options.controls)
    budget = options.tokens_per_pass or engine.token_budget
    tokens = budget if engine.forward is None else budget // gates.shape[-1]
    for rows, batch in engine.batches(data, options.batch_size, tokens):
        for matrices, scores in engine.score(scorer, batch):
            totals.add(matrices, rows, scores)
            if options.on_progress is not None:
                options.on_progress(len(matrices) * batch.num_tokens / work)
    return [totals.of(place) for place in places]


@plain_torch()
def evaluate(
    model: AnyModel,
    data: TokenData,
    gates: AnyGates | None = None,
    *,
    batch_size: int = 16,
    reference: Reference | None = None,
    metric: Metric = "logprob",
) -> SequenceScores:
    """Score the data under one gate matrix, in any form that `gated` takes, or ungated.

    Raises:
        ArchitectureError, GateError, DataError, ModelError: as `evaluate_gates`.
    """
    if gates is None:
        gates = torch.ones(find_head_sites(model).shape)
    (scores,) = evaluate_gates(
        model, data, [gates], batch_size=batch_size, reference=reference, metric=metric
    )
    return scores


def _distinct(
    engine: Engine, matrices: list[Tensor]
) -> tuple[Float[Tensor, "matrix layer head"], list[int]]:
    """Make one gate per head and every matrix once; with the place of each of the list."""
    together = torch.stack(matrices)
    attached = attach(engine.model, together)  # the checks
    attached.remove()
    unit: Unit = "head_and_mlp" if attached.unit == "head_and_mlp" else "head"
    reference = engine.reference
    require_reference_for(unit, reference is None or unit in ("head", reference.unit))
    nowhere = ~engine.exists(unit).to(together.device)
    gates = engine.sites.per_head(together).masked_fill(nowhere, 0)
    seen: dict[tuple[bytes, ...], int] = {}
    places = [seen.setdefault(tuple(row_keys(matrix)), len(seen)) for matrix in gates]
    return gates[[places.index(place) for place in range(len(seen))]], places


class _Totals:
    """Scores of every sequence under every gate matrix."""

    def __init__(self, matrices: int, sequences: int, metric: Metric) -> None:
        self._sums, self._correct, self._counts, self._metric = np.zeros((4, matrices, sequences))
        self._only_logprobs = metric == "logprob"

    def add(self, matrices: list[int], sequences: list[int], scores: TargetScores) -> None:
        """Note the scores of some sequences under some matrices.

        Raises:
            ModelError: one is NaN or infinite.
        """
        place = np.ix_(matrices, sequences)
        for total, values in (
            (self._sums, scores.sums(scores.logprobs.double())),
            (self._correct, scores.sums(scores.correct.double())),
            (self._counts, scores.counts()),
            (self._metric, scores.sums(scores.values.double())),
        ):
            total[place] = values.view(len(matrices), -1).cpu().numpy()
        wrong = ~np.isfinite(self._sums[place] + self._metric[place]).all(axis=0)
        if wrong.any():
            raise ModelError(
                f"the model's log-probabilities of row {sequences[int(wrong.argmax())]} are NaN or "
                "infinite; try --dtype float32, or check the model"
            )

    def of(self, matrix: int) -> SequenceScores:
        """The scores under one matrix."""
        return SequenceScores(
            self._sums[matrix],
            self._correct[matrix],
            self._counts[matrix],
            None if self._only_logprobs else self._metric[matrix],
        )

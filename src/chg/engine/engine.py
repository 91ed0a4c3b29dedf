"""A model opened once for many passes: its heads, its capabilities, and what closed gates become.

with open_engine(model, reference=reference) as engine:
    scorer = engine.scorer(gates)
    for rows, batch in engine.batches(data, batch_size):
        engine.score(scorer, batch)         # exact, without gradients
        engine.measure(gates, batch)        # gradients reach the gates
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from chg.config import Metric, Recompute, Unit
from chg.data import Batch, TokenData, TokenRow, batches, gather
from chg.engine.capabilities import Capabilities, capabilities
from chg.engine.partial_forward import PartialForward
from chg.engine.score_tree import TreeScorer
from chg.engine.state import PassOrder
from chg.engine.target_scores import (
    TargetScores,
    on_device_of,
    score_hidden,
    scored_logits,
    target_scores,
)
from chg.engine.targets import Targets
from chg.errors import ConfigError, DataError
from chg.gating import Reference, gated, repeat_for_rows
from chg.models import (
    AnyModel,
    HeadSites,
    SiteKey,
    find_head_sites,
    frozen,
    input_device,
    uncompiled,
    unwrap_model,
)

TOKENS_PER_PASS = 2048
"""Tokens per pass on a CPU; 512 to 8192 are within a tenth of each other."""
TOKENS_PER_PASS_ON_ACCELERATOR = 32_768


@runtime_checkable
class Scorer(Protocol):
    """Gate matrices, to score any number of batches under."""

    def score(
        self,
        batch: Batch,
        reference: Mapping[SiteKey, Tensor] | None = None,
        targets: Targets | None = None,
    ) -> Iterator[tuple[list[int], TargetScores]]:
        """Score a batch under every gate matrix, some of them at a time."""


@dataclass(frozen=True)
class Engine:
    """A frozen model, ready for passes; made by `open_engine`."""

    model: nn.Module
    sites: HeadSites
    capabilities: Capabilities
    forward: PartialForward | None
    """Passes of parts; None where the model takes passes of the whole alone."""
    reference: Reference | None
    metric: Metric = "logprob"

    @property
    def device(self) -> torch.device:
        """Device of the model's input."""
        return input_device(self.model)

    @property
    def token_budget(self) -> int:
        """Tokens per pass, about."""
        on_cpu = self.device.type == "cpu"
        return TOKENS_PER_PASS if on_cpu else TOKENS_PER_PASS_ON_ACCELERATOR

    @property
    def max_shared_length(self) -> int:
        """Length up to which rows may share a beginning; 0 where each has its own reference."""
        by_row = self.reference is not None and self.reference.by_row
        return 0 if by_row else self.capabilities.max_shared_length

    def shape(self, unit: Unit = "head") -> tuple[int, int]:
        """Shape of the gate matrix, `(layers, columns)`."""
        return self.sites.unit_shape(unit)

    def exists(self, unit: Unit = "head") -> Bool[Tensor, "layer unit"]:
        """Entries of the gate matrix that are heads (groups, MLPs)."""
        return self.sites.existing(unit)

    def batch(self, rows: Sequence[TokenRow], pad_id: int, *, apart: bool = False) -> Batch:
        """Put rows into one batch on the model's device.

        They share a beginning where it pays, unless they are to be kept `apart`.
        """
        shared = 0 if apart else self.max_shared_length
        return on_device_of(self.model, gather(rows, pad_id, shared))

    def batches(
        self, data: TokenData, batch_size: int, tokens: int | None = None
    ) -> Iterator[tuple[list[int], Batch]]:
        """Iterate over all rows in batches on the model's device, with their places in `data`.

        Args:
            data: the rows.
            batch_size: rows of a batch at most.
            tokens: tokens of a batch at most, where it holds more than one row.
        """
        for places, batch in batches(data, batch_size, tokens, self.max_shared_length):
            yield places, on_device_of(self.model, batch)

    def reference_of(self, batch: Batch) -> dict[SiteKey, Tensor] | None:
        """Values that closed gates are filled up with in a batch, by place; None for zeros."""
        return None if self.reference is None else self.reference.of(self.model, batch)

    @torch.no_grad()
    def targets_of(self, batch: Batch) -> Targets:
        """Take the targets of a batch, for `kl` with a pass of the ungated model.

        Raises:
            DataError: the metric needs wrong answers, and the rows have none.
        """
        if self.metric == "logit_diff" and batch.foils is None:
            raise DataError(
                "rows have no wrong answers; prepare them with chg.score_at_foils(data)"
            )
        if self.metric != "kl":
            return Targets.of(batch, self.metric)
        if self.forward is None:
            return Targets.of(batch, self.metric, scored_logits(self.model, batch))
        opened = self.exists().to(self.device, torch.float32)
        gates = opened.expand(len(batch.input_ids), -1, -1)
        hidden, _ = self.forward.run(PassOrder(batch.inputs, gates, batch.scored))
        return Targets.of(batch, self.metric, hidden)

    def score(self, scorer: Scorer, batch: Batch) -> Iterator[tuple[list[int], TargetScores]]:
        """Score a batch of this engine under every gate matrix of a scorer, some at a time."""
        return scorer.score(batch, self.reference_of(batch), self.targets_of(batch))

    def scorer(
        self,
        gates: Float[Tensor, "matrix layer head"],
        *,
        tokens: int | None = None,
        controls: bool = False,
    ) -> Scorer:
        """Arrange gate matrices, no two of them equal, for exact scores without gradients.

        Args:
            gates: one gate per head, or per head and MLP, 0 where there is none.
            tokens: tokens per pass, about; chosen for the device if not given.
            controls: score each matrix by its difference from the one it branches off, computed
                beside it, so that rounding cancels.
        """
        gates = gates.to(self.device)
        if self.forward is None:
            return _PlainScorer(self.model, gates)
        return TreeScorer(self.forward, gates, tokens or self.token_budget, controls=controls)

    def measure(
        self,
        gates: Float[Tensor, "fit layer head"],
        batch: Batch,
        targets: Targets | None = None,
    ) -> Float[Tensor, "fit sequence"]:
        """Compute the mean metric of every sequence's targets under every fit's gates.

        Each row is repeated once per fit and given that fit's gate matrix, all in one pass.
        Gradients reach `gates`.

        Args:
            gates: one matrix per fit.
            batch: rows on the model's device.
            targets: those of the batch, where they are known (`targets_of`).
        """
        fits, rows = gates.shape[0], batch.input_ids.shape[0]
        # One gate matrix for all rows spares the batch its copy of the gates.
        per_row = gates[0] if fits == 1 else gates.repeat_interleave(rows, dim=0)
        targets = (targets or self.targets_of(batch)).repeat(fits)
        fill = self.reference_of(batch)
        return self._means(per_row, batch.repeat(fits), targets, fill).view(fits, len(batch))

    def measure_by_row(
        self,
        gates: Float[Tensor, "fit row layer head"],
        batch: Batch,
        targets: Targets | None = None,
    ) -> Float[Tensor, "fit row"]:
        """Compute the mean metric of every row's targets under a gate matrix of its own.

        Gradients reach `gates`.

        Args:
            gates: as many matrices per fit as rows.
            batch: rows on the model's device, each of them apart.
            targets: those of the batch, where they are known.
        """
        fits, rows = gates.shape[:2]
        targets = (targets or self.targets_of(batch)).repeat(fits)
        fill = self.reference_of(batch)
        means = self._means(gates.flatten(0, 1), batch.repeat(fits), targets, fill)
        return means.view(fits, rows)

    def _means(
        self,
        gates: Float[Tensor, "*row layer head"],
        batch: Batch,
        targets: Targets,
        fill: dict[SiteKey, Tensor] | None,
    ) -> Float[Tensor, "sequence"]:
        """Compute the mean metric of every sequence, each row under its gates or all under one.

        Args:
            gates: one matrix for all rows, or one per row.
            batch: rows, of which copies follow the first ones.
            targets: those of the batch.
            fill: values that closed gates of the first rows are filled up with.
        """
        rows = batch.input_ids.shape[0]
        if self.forward is not None:
            per_row = self.sites.per_head(gates).expand(rows, -1, -1)
            order = PassOrder(batch.inputs, per_row, batch.scored, reference=fill)
            hidden, _ = self.forward.run(order)
            return score_hidden(self.forward.head, hidden, batch, targets).means()
        if fill is not None:
            fill = {place: repeat_for_rows(value, rows) for place, value in fill.items()}
        with gated(self.model, gates, reference=fill, check=False):
            return target_scores(self.model, batch, targets).means()


@contextmanager
def open_engine(
    model: AnyModel,
    *,
    reference: Reference | None = None,
    recompute: Recompute = "none",
    metric: Metric = "logprob",
) -> Iterator[Engine]:
    """Open a model for many passes; frozen and uncompiled inside, as it was afterwards.

    Args:
        model: a causal language model.
        reference: values that closed gates are filled up with, in place of zeros.
        recompute: parts that a backward pass computes again in place of keeping them.
        metric: what is measured; `logit_diff` takes rows that are scored at their foils alone.

    Raises:
        ArchitectureError: the model's heads cannot be found.
        ConfigError: `recompute` cannot be done in this model.
        ModelError: another thread works with the model, or it has no weights.
    """
    model = unwrap_model(model)
    with frozen(model), uncompiled():
        sites, able = find_head_sites(model), capabilities(model)
        if able.outputs is None:
            if recompute != "none":
                raise ConfigError(
                    f"{type(model).__name__} runs only as a whole: --recompute does not apply to it"
                )
            yield Engine(model, sites, able, None, reference, metric)
            return
        inside = able.mode == "inside"
        with PartialForward(
            model, sites, able.outputs, inside=inside, recompute=recompute
        ) as forward:
            yield Engine(model, sites, able, forward, reference, metric)


class _PlainScorer:
    """Scores by one pass through the whole model per gate matrix."""

    def __init__(self, model: nn.Module, gates: Float[Tensor, "matrix layer head"]) -> None:
        self._model = model
        self._gates = gates

    @torch.no_grad()
    def score(
        self,
        batch: Batch,
        reference: Mapping[SiteKey, Tensor] | None = None,
        targets: Targets | None = None,
    ) -> Iterator[tuple[list[int], TargetScores]]:
        for i, matrix in enumerate(self._gates):
            with gated(self._model, matrix, reference=reference, check=False):
                yield [i], target_scores(self._model, batch, targets)

"""Batches: rows padded on the right, with their attention and target masks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from chg.data.tokens import TokenData, TokenRow


@dataclass(frozen=True)
class Batch:
    """Rows of equal length, and what is scored in them.

    Causal attention never looks right, so padding there is inert.
    """

    input_ids: Int[Tensor, "batch pos"]
    attention_mask: Int[Tensor, "batch pos"]
    scored: Int[Tensor, "target"]
    """Positions whose prediction of the next token is scored, as `row * length + pos`."""
    tokens: Int[Tensor, "target"]
    """The tokens to predict there."""
    sequences: Int[Tensor, "target"]
    """The sequence each belongs to."""
    num_sequences: int

    def __len__(self) -> int:
        return self.num_sequences

    @property
    def num_tokens(self) -> int:
        """Tokens without padding."""
        return int(self.attention_mask.sum())

    @property
    def inputs(self) -> dict[str, Tensor]:
        """What the model is called with."""
        return {"input_ids": self.input_ids, "attention_mask": self.attention_mask}

    def to(self, device: torch.device) -> Batch:
        """The same batch on another device."""
        return Batch(
            self.input_ids.to(device),
            self.attention_mask.to(device),
            self.scored.to(device),
            self.tokens.to(device),
            self.sequences.to(device),
            self.num_sequences,
        )

    def repeat(self, times: int) -> Batch:
        """All rows `times` over: row `r` of copy `k` is at `k * rows + r`."""
        copies = torch.arange(times, device=self.scored.device)[:, None]
        return Batch(
            self.input_ids.repeat(times, 1),
            self.attention_mask.repeat(times, 1),
            (self.scored + copies * self.input_ids.numel()).flatten(),
            self.tokens.repeat(times),
            (self.sequences + copies * self.num_sequences).flatten(),
            times * self.num_sequences,
        )


def collate(rows: Sequence[TokenRow], pad_id: int) -> Batch:
    """Pad rows on the right to the longest."""
    longest = max(len(row.ids) for row in rows)
    shape = (len(rows), longest)
    input_ids = torch.full(shape, pad_id, dtype=torch.long)
    attention_mask = torch.zeros(shape, dtype=torch.long)
    targets = torch.zeros(shape, dtype=torch.bool)
    for i, row in enumerate(rows):
        length = len(row.ids)
        input_ids[i, :length] = torch.tensor(row.ids)
        attention_mask[i, :length] = 1
        targets[i, :length] = torch.tensor(row.scored)
    sequences, before = targets[:, 1:].nonzero(as_tuple=True)
    scored = sequences * longest + before
    tokens = input_ids[sequences, before + 1]
    return Batch(input_ids, attention_mask, scored, tokens, sequences, len(rows))


def batches(
    data: TokenData, batch_size: int, tokens: int | None = None
) -> Iterator[tuple[list[int], Batch]]:
    """All rows, longest first and grouped by length, with their indices in `data`.

    Longest first, so that memory runs out at once or not at all. With `tokens`, only as many rows
    go together as have that many, one at least.
    """
    order = sorted(range(len(data)), key=lambda i: -len(data.rows[i].ids))
    start = 0
    while start < len(order):
        fitting = batch_size
        if tokens is not None:
            fitting = max(1, min(batch_size, tokens // len(data.rows[order[start]].ids)))
        indices = order[start : start + fitting]
        start += fitting
        yield indices, collate([data.rows[i] for i in indices], data.pad_id)


def shuffled_batches(
    data: TokenData, batch_size: int, generator: torch.Generator
) -> Iterator[Batch]:
    """One epoch of batches in an order drawn from the generator."""
    order = torch.randperm(len(data), generator=generator).tolist()
    for start in range(0, len(order), batch_size):
        rows = [data.rows[i] for i in order[start : start + batch_size]]
        yield collate(rows, data.pad_id)


def endless_batches(
    data: TokenData, batch_size: int, generator: torch.Generator
) -> Iterator[Batch]:
    """Full batches without end: shuffled epochs one after another, cut where a batch is full."""
    waiting: list[int] = []
    while True:
        while len(waiting) < batch_size:
            waiting += torch.randperm(len(data), generator=generator).tolist()
        rows = [data.rows[i] for i in waiting[:batch_size]]
        waiting = waiting[batch_size:]
        yield collate(rows, data.pad_id)

"""Batches: rows padded on the right, with their attention and target masks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from chg.data.tokens import TokenData, TokenRow


@dataclass(frozen=True)
class Batch:
    """Rows of equal length. Causal attention never looks right, so padding there is inert."""

    input_ids: Int[Tensor, "batch pos"]
    attention_mask: Int[Tensor, "batch pos"]
    targets: Bool[Tensor, "batch pos"]
    """True where the token *at* this position is scored; the first position never is."""

    def __len__(self) -> int:
        return int(self.input_ids.shape[0])

    @property
    def num_tokens(self) -> int:
        """Tokens without padding."""
        return int(self.attention_mask.sum())

    def to(self, device: torch.device) -> Batch:
        """The same batch on another device; `targets` stay where they can be read at no cost."""
        return Batch(self.input_ids.to(device), self.attention_mask.to(device), self.targets)

    def repeat(self, times: int) -> Batch:
        """All rows `times` over: row `r` of copy `k` is at `k * len(batch) + r`."""
        return Batch(
            self.input_ids.repeat(times, 1),
            self.attention_mask.repeat(times, 1),
            self.targets.repeat(times, 1),
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
    return Batch(input_ids, attention_mask, targets)


def batches(data: TokenData, batch_size: int) -> Iterator[tuple[list[int], Batch]]:
    """All rows, longest first and grouped by length, with their indices in `data`.

    Longest first, so that memory runs out at once or not at all.
    """
    order = sorted(range(len(data)), key=lambda i: -len(data.rows[i].ids))
    for start in range(0, len(order), batch_size):
        indices = order[start : start + batch_size]
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

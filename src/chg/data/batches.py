"""Batches: rows padded on the right, or sharing a common beginning, and what is scored in them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from chg.data.tokens import TokenData, TokenRow

if TYPE_CHECKING:  # torch is loaded with the first batch: rows are refused sooner without it
    import torch
    from jaxtyping import Int
    from torch import Tensor

WORTH_SHARING = 1 / 3
"""Shortest common beginning that is worth computing once, as a share of the longest row."""

LITTLE_PADDING = 0.8
"""Shortest row that may join a batch, as a share of its longest, where padding is to be spared."""

LONGEST_PACK = 1024
"""Tokens of a packed row at most; attention looks at all pairs of them."""


@dataclass(frozen=True)
class Batch:
    """Rows of equal length, and what is scored in them.

    Causal attention never looks right, so padding there is inert.
    """

    input_ids: Int[Tensor, "batch pos"]
    attention_mask: Tensor
    """`[batch, pos]`, 0 at padding; or `[1, 1, pos, pos]`, added to attention scores."""
    scored: Int[Tensor, "target"]
    """Positions whose prediction of the next token is scored, as `row * length + pos`."""
    tokens: Int[Tensor, "target"]
    """The tokens to predict there."""
    sequences: Int[Tensor, "target"]
    """The sequence that each target belongs to."""
    num_sequences: int
    num_tokens: int
    """Tokens of all sequences, without padding."""
    position_ids: Int[Tensor, "batch pos"] | None = None
    """Given where the sequences share a beginning."""
    reference_ids: Int[Tensor, "batch pos"] | None = None
    """The rows whose heads stand in for ablated ones, cut or padded to the same length."""
    reference_mask: Int[Tensor, "batch pos"] | None = None
    """`reference_ids` without padding: 0 at padding, 1 elsewhere."""
    foils: Int[Tensor, "target"] | None = None
    """Token that each target is held against, where rows are scored there alone."""

    def __len__(self) -> int:
        return self.num_sequences

    @property
    def inputs(self) -> dict[str, Tensor]:
        """Arguments that the model is called with."""
        inputs = {"input_ids": self.input_ids, "attention_mask": self.attention_mask}
        return (
            inputs if self.position_ids is None else {**inputs, "position_ids": self.position_ids}
        )

    def to(self, device: torch.device, dtype: torch.dtype | None = None) -> Batch:
        """The same batch on another device; what is added to attention scores in another dtype."""
        from torch import Tensor

        added = self.attention_mask.is_floating_point()
        moved: dict[str, Any] = {
            name: value.to(device)
            for name, value in vars(self).items()
            if isinstance(value, Tensor)
        }
        moved["attention_mask"] = self.attention_mask.to(device, dtype if added else None)
        return replace(self, **moved)

    def repeat(self, times: int) -> Batch:
        """All rows `times` over: row `r` of copy `k` is at `k * rows + r`."""
        import torch

        copies = torch.arange(times, device=self.scored.device)[:, None]
        mask = self.attention_mask
        # A mask of all pairs is large and belongs to a single row, so that it need not be copied.
        mask = mask.expand(times, -1, -1, -1) if mask.dim() == 4 else mask.repeat(times, 1)
        by_row = ("position_ids", "reference_ids", "reference_mask")
        optional = {name: getattr(self, name) for name in by_row}
        return Batch(
            self.input_ids.repeat(times, 1),
            mask,
            (self.scored + copies * self.input_ids.numel()).flatten(),
            self.tokens.repeat(times),
            (self.sequences + copies * self.num_sequences).flatten(),
            times * self.num_sequences,
            times * self.num_tokens,
            foils=None if self.foils is None else self.foils.repeat(times),
            **{
                name: None if ids is None else ids.repeat(times, 1)
                for name, ids in optional.items()
            },
        )


def collate(rows: Sequence[TokenRow], pad_id: int) -> Batch:
    """Pad rows on the right to the longest."""
    import torch

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
    num_tokens = sum(len(row.ids) for row in rows)
    batch = Batch(
        input_ids,
        attention_mask,
        scored,
        tokens,
        sequences,
        len(rows),
        num_tokens,
        foils=_foils(rows),
    )
    references = [row.reference_ids for row in rows if row.reference_ids is not None]
    if len(references) < len(rows):
        return batch
    reference_ids, mask = torch.full(shape, pad_id), torch.zeros(shape, dtype=torch.long)
    for i, ids in enumerate(references):
        length = min(len(ids), longest)
        reference_ids[i, :length] = torch.tensor(ids[:length])
        mask[i, :length] = 1
    return replace(batch, reference_ids=reference_ids, reference_mask=mask)


def pack_shared_prefix(rows: Sequence[TokenRow], prefix: int) -> Batch:
    """Pack rows with the same first `prefix` tokens into one: those once, then every row's rest.

    Each token attends to tokens of its own row alone, at the positions that they have there.
    References of rows are left out: they need not begin alike.
    """
    import torch

    ends = [prefix]
    for row in rows:
        ends.append(ends[-1] + len(row.ids) - prefix)
    length = ends[-1]
    owner = torch.full((length,), -1)
    positions = torch.arange(length)
    ids = list(rows[0].ids[:prefix])
    scored, tokens, sequences = [], [], []
    for k, (row, start, end) in enumerate(zip(rows, ends, ends[1:], strict=False)):
        ids += row.ids[prefix:]
        owner[start:end] = k
        positions[start:end] -= start - prefix
        for j in range(1, len(row.ids)):
            if row.scored[j]:
                scored.append(j - 1 if j <= prefix else start + j - 1 - prefix)
                tokens.append(row.ids[j])
                sequences.append(k)
    earlier = torch.ones(length, length, dtype=torch.bool).tril()
    seen = earlier & ((owner == -1) | (owner == owner[:, None]))
    mask = torch.zeros(1, 1, length, length).masked_fill_(~seen, torch.finfo(torch.float32).min)
    return Batch(
        torch.tensor(ids)[None],
        mask,
        torch.tensor(scored, dtype=torch.long),
        torch.tensor(tokens, dtype=torch.long),
        torch.tensor(sequences, dtype=torch.long),
        len(rows),
        sum(len(row.ids) for row in rows),
        positions[None],
        foils=_foils(rows),
    )


def _foils(rows: Sequence[TokenRow]) -> Int[Tensor, "target"] | None:
    """The foil of every target; None unless each row has one, and is scored there alone."""
    import torch

    found = [row.foil for row in rows if row.foil is not None and row.scored[row.foil[0]]]
    if len(found) < len(rows) or any(sum(row.scored) > 1 for row in rows):
        return None
    return torch.tensor([token for _, token in found])


def gather(rows: Sequence[TokenRow], pad_id: int, max_shared_length: int = 0) -> Batch:
    """Make one batch: rows share their beginning where that is worth it, otherwise are padded.

    Args:
        rows: at least one row.
        pad_id: the token to pad with.
        max_shared_length: length up to which the model lets rows share (`Capabilities`).
    """
    if len(rows) > 1 and _worth_sharing(rows, max_shared_length):
        return pack_shared_prefix(rows, common_prefix(rows))
    return collate(rows, pad_id)


def common_prefix(rows: Sequence[TokenRow]) -> int:
    """Number of tokens with which all rows begin."""
    first, last = min(row.ids for row in rows), max(row.ids for row in rows)
    return sum(
        1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False))
    )


def batches(
    data: TokenData, batch_size: int, tokens: int | None = None, max_shared_length: int = 0
) -> Iterator[tuple[list[int], Batch]]:
    """Yield all rows in batches, with the rows' indices in `data`.

    Rows that share a beginning come first. The others come longest first and grouped by length, so
    that memory runs out at their first batch or not at all.

    Args:
        data: the rows.
        batch_size: rows of a batch at most.
        tokens: tokens of a batch at most, where it holds more than one row, with little padding.
        max_shared_length: length up to which rows may share a common beginning; those that do so
            are grouped first, whatever `batch_size` is.
    """
    taken: set[int] = set()
    for indices in _sharing(data, max_shared_length):
        yield indices, gather([data.rows[i] for i in indices], data.pad_id, max_shared_length)
        taken.update(indices)
    order = [i for i in range(len(data)) if i not in taken]
    order.sort(key=lambda i: -len(data.rows[i].ids))
    start = 0
    while start < len(order):
        fitting = batch_size
        if tokens is not None:
            fitting = max(1, min(batch_size, tokens // len(data.rows[order[start]].ids)))
        indices = order[start : start + fitting]
        if tokens is not None:
            enough = LITTLE_PADDING * len(data.rows[indices[0]].ids)
            indices = [i for i in indices if len(data.rows[i].ids) >= enough]
        start += len(indices)
        yield indices, collate([data.rows[i] for i in indices], data.pad_id)


def _sharing(data: TokenData, max_shared_length: int) -> Iterator[list[int]]:
    """Groups of rows whose common beginning is worth sharing: neighbors when sorted by ids."""
    order = sorted(range(len(data)), key=lambda i: data.rows[i].ids)
    group: list[int] = []
    for i in [*order, None]:
        longer = [] if i is None else [*group, i]
        if longer and _worth_sharing([data.rows[j] for j in longer], max_shared_length):
            group = longer
            continue
        if len(group) > 1:
            yield group
        group = [] if i is None else [i]


def _worth_sharing(rows: Sequence[TokenRow], max_shared_length: int) -> bool:
    if len(rows) == 1:
        return len(rows[0].ids) <= max_shared_length
    lengths = [len(row.ids) for row in rows]
    prefix = common_prefix(rows)
    packed = sum(lengths) - prefix * (len(rows) - 1)
    fits = max(lengths) <= max_shared_length and packed <= LONGEST_PACK
    return fits and prefix >= WORTH_SHARING * max(lengths)

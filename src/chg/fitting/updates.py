"""Rows of every update of a fit, in an order drawn from its seed."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from chg.config import ContrastConfig, OptimizerConfig
from chg.data import TokenData, TokenRow

logger = logging.getLogger(__name__)

ENOUGH_UPDATES = 500
"""The paper's number of updates; far more are rarely worth their time."""


@dataclass(frozen=True)
class MicroBatch:
    """Rows of one forward and backward pass of a fit."""

    sides: tuple[Sequence[TokenRow], ...]
    """One list of rows; of a contrastive fit two, whose rows are pairs."""
    share: float
    """Share of the update's rows."""

    @property
    def tokens(self) -> int:
        """Tokens of its largest side, with padding."""
        return max(len(side) * max(len(row.ids) for row in side) for side in self.sides)

    def halves(self) -> tuple[MicroBatch, MicroBatch] | None:
        """Split into two passes; None where there is a single row left."""
        rows = len(self.sides[0])
        if rows == 1:
            return None
        middle = rows // 2
        first = tuple(side[:middle] for side in self.sides)
        second = tuple(side[middle:] for side in self.sides)
        share = self.share * middle / rows
        return MicroBatch(first, share), MicroBatch(second, self.share - share)


def shuffled_rows(
    data: TokenData, batch_size: int, generator: torch.Generator
) -> Iterator[list[TokenRow]]:
    """Yield one epoch, in an order drawn from the generator."""
    order = torch.randperm(len(data), generator=generator).tolist()
    for start in range(0, len(order), batch_size):
        yield [data.rows[i] for i in order[start : start + batch_size]]


def endless_rows(
    data: TokenData, batch_size: int, generator: torch.Generator
) -> Iterator[list[TokenRow]]:
    """Yield `batch_size` rows without end: shuffled epochs one after another."""
    waiting: list[int] = []
    while True:
        while len(waiting) < batch_size:
            waiting += torch.randperm(len(data), generator=generator).tolist()
        yield [data.rows[i] for i in waiting[:batch_size]]
        waiting = waiting[batch_size:]


def micro_batches(
    groups: Sequence[Sequence[TokenRow]], tokens: int | None = None
) -> list[MicroBatch]:
    """Make the passes of one update: its groups of rows, or as many rows as have so many tokens.

    With `tokens`, rows of like length go together.
    """
    total = sum(len(group) for group in groups)
    if tokens is not None:
        ordered = sorted((row for group in groups for row in group), key=lambda row: -len(row.ids))
        groups, start = [], 0
        while start < len(ordered):
            fitting = max(1, tokens // len(ordered[start].ids))
            groups.append(ordered[start : start + fitting])
            start += fitting
    return [MicroBatch((rows,), len(rows) / total) for rows in groups]


def total_updates(config: OptimizerConfig, rows: int) -> int:
    """Count the updates: `max_steps`, or all rows `epochs` times over."""
    if config.max_steps is not None:
        return config.max_steps
    per_epoch = math.ceil(rows / (config.batch_size * config.grad_accum_steps))
    total = per_epoch * config.epochs
    if total > 4 * ENOUGH_UPDATES:
        logger.warning(
            "%d updates planned; %d are usually enough: --max_steps %d",
            total,
            ENOUGH_UPDATES,
            ENOUGH_UPDATES,
        )
    return total


def contrast_updates(config: ContrastConfig, rows: int) -> int:
    """Count the updates: `max_steps`, or the smaller side `epochs` times over."""
    per_update = config.batch_size * config.grad_accum_steps
    return config.max_steps or config.epochs * math.ceil(rows / per_update)


def update_batches(
    data: TokenData, config: OptimizerConfig, total: int, tokens: int | None = None
) -> Iterator[list[MicroBatch]]:
    """Yield the micro-batches of `total` updates, epoch after epoch, in an order from the seed.

    Args:
        data: the rows.
        config: seed, rows per pass and passes per update.
        total: number of updates.
        tokens: tokens of a pass at most, in place of a number of rows.
    """
    generator = torch.Generator().manual_seed(config.seed)
    done = 0
    while True:
        group: list[list[TokenRow]] = []
        epoch = list(shuffled_rows(data, config.batch_size, generator))
        for i, rows in enumerate(epoch, start=1):
            group.append(rows)
            if len(group) == config.grad_accum_steps or i == len(epoch):
                yield micro_batches(group, tokens)
                done += 1
                if done == total:
                    return
                group = []

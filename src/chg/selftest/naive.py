"""Naive computations to compare with: one unpadded forward pass per row, nothing shared."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from chg.data import TokenData, TokenRow
from chg.selftest.random_models import HEADS, LAYERS, VOCAB, projection


def ragged_rows(rows: int = 5) -> TokenData:
    """Rows of random tokens and different lengths, scored in part, for the random models."""
    generator = torch.Generator().manual_seed(7)
    token_rows = []
    for i in range(rows):
        ids = torch.randint(1, VOCAB, (3 + 2 * i,), generator=generator).tolist()
        scored = tuple(j > 0 and (i % 2 == 0 or j >= len(ids) - 2) for j in range(len(ids)))
        token_rows.append(TokenRow(tuple(ids), scored))
    return TokenData(tuple(token_rows), "ragged", 0)


def mean_logprob(model: nn.Module, data: TokenData) -> Tensor:
    """Metric of ablation: mean log-probability over all target tokens, nats per token."""
    return torch.cat(_of_targets(model, data)).mean()


def mean_nll(model: nn.Module, data: TokenData) -> Tensor:
    """Loss of fitting: mean over rows of the mean over each row's target tokens, in nats."""
    return -torch.stack([values.mean() for values in _of_targets(model, data)]).mean()


def _of_targets(model: nn.Module, data: TokenData) -> list[Float[Tensor, "target"]]:
    """Log-probabilities of every row's target tokens."""
    by_row = []
    for row in data.rows:
        logits = model(torch.tensor([row.ids])).logits[0]
        logprobs = logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(-1)
        places = [i for i, scored in enumerate(row.scored) if scored]
        by_row.append(torch.stack([logprobs[i - 1, row.ids[i]] for i in places]))
    return by_row


@torch.no_grad()
def mean_heads(model: nn.Module, data: TokenData) -> Float[Tensor, "layer width"]:
    """Mean input of every output projection, over all tokens of all rows."""
    entered: list[list[Tensor]] = [[] for _ in range(LAYERS)]

    def note(layer: int) -> Any:
        return lambda _module, args: entered[layer].append(args[0][0])

    handles = [projection(model, k).register_forward_pre_hook(note(k)) for k in range(LAYERS)]
    try:
        for row in data.rows:
            model(torch.tensor([row.ids]))
    finally:
        for handle in handles:
            handle.remove()
    return torch.stack([torch.cat(rows).mean(0) for rows in entered])


@contextmanager
def head_replaced(
    model: nn.Module, layer: int, head: int, value: Float[Tensor, "width"]
) -> Iterator[None]:
    """Put a head's slice of `value` in place of its output, at every position."""
    size = len(value) // HEADS
    columns = slice(head * size, (head + 1) * size)

    def replace(_module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        heads = args[0].clone()
        heads[..., columns] = value[columns]
        return heads, *args[1:]

    handle = projection(model, layer).register_forward_pre_hook(replace)
    try:
        yield
    finally:
        handle.remove()

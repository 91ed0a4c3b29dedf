"""Gate matrices, and the plainest ways to see what gates do."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from chg.gating.gate_wrapper import gated
from chg.models.architectures import find_head_sites
from support.tiny_models import HEADS, LAYERS, VOCAB


def individual() -> list[Tensor]:
    """All heads open, then each closed alone."""
    matrices = [torch.ones(LAYERS, HEADS)]
    for place in range(LAYERS * HEADS):
        closed = torch.ones(LAYERS, HEADS)
        closed.view(-1)[place] = 0
        matrices.append(closed)
    return matrices


def tokens(rows: int = 3, length: int = 7, seed: int = 1) -> Tensor:
    """Random token ids, rows of one length."""
    return torch.randint(1, VOCAB, (rows, length), generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def logits(model: nn.Module, ids: Tensor, **inputs: Tensor) -> Tensor:
    """Logits of one plain pass."""
    result: Tensor = model(input_ids=ids, use_cache=False, **inputs).logits
    return result


def zero_columns(model: nn.Module, layer: int, head: int) -> nn.Module:
    """A copy whose projection ignores one head: the plainest possible ablation."""
    edited = copy.deepcopy(model)
    site = find_head_sites(edited)[layer]
    columns = slice(head * site.head_dim, (head + 1) * site.head_dim)
    with torch.no_grad():
        transposed = type(site.projection).__name__ == "Conv1D"
        index = (columns, slice(None)) if transposed else (slice(None), columns)
        site.projection.weight[index] = 0
    return edited


def hooks(model: nn.Module) -> int:
    """Number of forward hooks anywhere in the model."""
    return sum(len(m._forward_pre_hooks) + len(m._forward_hooks) for m in model.modules())


GATES = torch.linspace(0, 1, LAYERS * HEADS).view(LAYERS, HEADS)


def under(model: nn.Module, gates: Tensor) -> Tensor:
    """Logits of one pass under gates."""
    with gated(model, gates):
        return logits(model, tokens())

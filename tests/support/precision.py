"""How near two exact computations of one model come, from the arithmetic of its family."""

from __future__ import annotations

from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from support.tiny_models import VOCAB

FLOAT64 = 1e-9
"""Bound for log-probabilities of tiny models that compute in float64 throughout."""


class _Float32Results(TorchDispatchMode):
    """Keep a copy of every float32 tensor that an operation returns."""

    def __init__(self) -> None:
        super().__init__()
        self.results: list[Tensor] = []

    def __torch_dispatch__(
        self, func: Any, _types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        self.results += [
            leaf.detach().clone()
            for leaf in tree_leaves(output)
            if isinstance(leaf, Tensor) and leaf.dtype == torch.float32
        ]
        return output


@torch.no_grad()
def float32_results(model: nn.Module) -> int:
    """Number of float32 tensors in a pass of a float64 model that depend on the tokens.

    Rotary angles and masks are not among them: they are the same in any two computations.
    """
    passes = []
    for seed in (0, 1):
        generator = torch.Generator().manual_seed(seed)
        ids = torch.randint(3, VOCAB - 4, (2, 6), generator=generator)
        with _Float32Results() as seen:
            model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False)
        passes.append(seen.results)
    return sum(
        one is None or other is None or not torch.equal(one, other)
        for one, other in zip_longest(*passes)
    )


def bound(model: nn.Module) -> float:
    """Largest difference that rounding makes between two ways to compute log-probabilities.

    Two sums of the same terms in another order may round to neighbouring float32 numbers, so that
    every float32 result, like an RMS norm or a softmax, can add one step of float32.
    """
    return FLOAT64 + float32_results(model) * torch.finfo(torch.float32).eps

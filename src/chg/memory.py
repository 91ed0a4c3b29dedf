"""How much memory a fit and an ablation take, from the configuration of a model alone.

The jobs' own code runs on a model without weights (PyTorch's meta device), and every tensor is
counted for as long as it lives.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from chg.data.batches import collate
from chg.data.tokens import TokenRow
from chg.errors import ModelError
from chg.gate_wrapper import frozen, gate_shape, gated
from chg.objectives import logprobs_of_fits, target_scores


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes: the weights, and what each job takes above them at its highest."""

    weights: int
    fit: int
    """One forward and backward pass over a batch."""
    ablation: int
    """One forward pass over a batch."""


def estimate_memory(model: nn.Module, batch_size: int, length: int) -> MemoryEstimate:
    """Estimate from a model on the meta device, every token of `batch_size x length` scored.

    Raises:
        ArchitectureError: the model's heads cannot be found.
        ModelError: the model cannot run without weights, because it decides by values.
    """
    row = TokenRow((0,) * length, (False, *[True] * (length - 1)))
    batch = collate([row] * batch_size, 0).to(torch.device("meta"))

    def fit() -> None:
        gates = torch.ones(1, *gate_shape(model), device="meta", requires_grad=True)
        logprobs_of_fits(model, gates, batch).sum().backward()

    def ablation() -> None:
        gates = torch.ones(gate_shape(model), device="meta")
        with torch.no_grad(), gated(model, gates, check=False):
            target_scores(model, batch)

    weights = {id(p): p.numel() * p.element_size() for p in model.parameters()}
    with frozen(model):
        return MemoryEstimate(sum(weights.values()), _peak(fit), _peak(ablation))


def _peak(job: Callable[[], None]) -> int:
    with _Living() as living:
        try:
            job()
        except (RuntimeError, NotImplementedError) as error:
            line = (str(error).splitlines() or [""])[0]
            raise ModelError(
                f"memory cannot be estimated without weights for this model: {line}; load it and "
                "watch a short run instead"
            ) from error
    return int(living.peak)


class _Living(TorchDispatchMode):
    """Counts the bytes of all tensors made inside that are alive."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak: int = 0
        self._now = 0
        self._sizes: dict[int, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default:
            return True  # "is nothing masked?": yes, a batch without padding
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor) and tensor.device.type == "meta":
                self._count(tensor.untyped_storage())
        return made

    def _count(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key not in self._sizes:
            self._sizes[key] = storage.nbytes()
            self._now += self._sizes[key]
            self.peak = max(self.peak, self._now)
            weakref.finalize(storage, self._forget, key)

    def _forget(self, key: int) -> None:
        self._now -= self._sizes.pop(key)

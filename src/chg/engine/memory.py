"""Memory that a fit and an ablation take, from the configuration of a model alone.

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

from chg.config import Recompute
from chg.data import TokenRow
from chg.engine.capabilities import capabilities
from chg.engine.engine import TOKENS_PER_PASS, Engine, open_engine
from chg.engine.state import PassOrder
from chg.engine.target_scores import score_hidden, target_scores
from chg.errors import ModelError
from chg.models import plain_torch, without_weights


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes of the weights, and of each job above them at its highest."""

    weights: int
    fit: int
    """One forward and backward pass over a batch."""
    ablation: int
    """The states that branches start from, and a pass full of branches."""


@plain_torch()
def estimate_memory(
    model: nn.Module, batch_size: int, length: int, recompute: Recompute = "none"
) -> MemoryEstimate:
    """Estimate from a model on the meta device, every token of `batch_size x length` scored.

    Raises:
        ArchitectureError: the model's heads cannot be found.
        ModelError: the model cannot run without weights, because it decides by values.
    """
    row = TokenRow((0,) * length, (False, *[True] * (length - 1)))

    def fit() -> None:
        with open_engine(model, recompute=recompute) as engine:
            batch = engine.batch([row] * batch_size, 0)
            gates = torch.ones(1, *engine.shape(), device=engine.device, requires_grad=True)
            engine.measure(gates, batch).sum().backward()

    def ablation() -> None:
        with torch.no_grad(), open_engine(model) as engine:
            _ablate_once(engine, row, batch_size)

    weights = {id(p): p.numel() * p.element_size() for p in model.parameters()}
    _peak(model, lambda: capabilities(model))  # found out once, and not part of any job
    return MemoryEstimate(sum(weights.values()), _peak(model, fit), _peak(model, ablation))


def _ablate_once(engine: Engine, row: TokenRow, batch_size: int) -> None:
    """Run the states that branches of an ablation start from, and a pass full of branches."""
    heads, length = engine.shape()[1], len(row.ids)
    together = max(1, min(batch_size, TOKENS_PER_PASS // heads // length))
    batch = engine.batch([row] * together, 0)
    if engine.forward is None:
        target_scores(engine.model, batch)
        return
    every = {site.layer: torch.arange(together, device=engine.device) for site in engine.sites}
    many = batch.repeat(max(1, TOKENS_PER_PASS // (together * length)))
    for rows, keep in ((batch, every), (many, {})):
        gates = torch.ones(rows.input_ids.shape[0], *engine.shape(), device=engine.device)
        hidden, _kept = engine.forward.run(PassOrder(rows.inputs, gates, rows.scored, keep=keep))
        score_hidden(engine.forward.head, hidden, rows)


def _peak(model: nn.Module, job: Callable[[], object]) -> int:
    with without_weights(), LivingTensors(model) as living:
        try:
            job()
        except (RuntimeError, NotImplementedError) as error:
            line = (str(error).splitlines() or [""])[0]
            raise ModelError(
                f"memory cannot be estimated without weights for this model: {line}; load it and "
                "watch a short run instead"
            ) from error
    return int(living.peak)


class LivingTensors(TorchDispatchMode):
    """Counts the bytes of all tensors made inside that are alive, a model's own left out.

    `peak` is their highest, without what allocators and libraries hold beside.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        own = (*model.parameters(), *model.buffers())
        self._own = {tensor.untyped_storage()._cdata for tensor in own}
        self.peak: int = 0
        self._now = 0
        self._sizes: dict[int, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default and args[0].is_meta:
            return True  # "is nothing masked?": yes, a batch without padding
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor):
                self._count(tensor.untyped_storage())
        return made

    def _count(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key not in self._sizes and key not in self._own:
            self._sizes[key] = storage.nbytes()
            self._now += self._sizes[key]
            self.peak = max(self.peak, self._now)
            weakref.finalize(storage, self._forget, key)

    def _forget(self, key: int) -> None:
        self._now -= self._sizes.pop(key)

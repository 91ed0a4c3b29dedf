"""Activation functions inside a model, made cheaper without changing what they compute.

1. Some classes make an activation of several kernels; the same function exists as one.
2. A gated MLP multiplies what leaves its activation with a second projection, so autograd keeps the
   activation's output beside its input. The backward pass makes the output again from the input:
   one elementwise kernel, for a third of what such an MLP keeps.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

Activation = Callable[[Tensor], Tensor]

FUSED: dict[str, Activation] = {
    "NewGELUActivation": partial(nn.functional.gelu, approximate="tanh"),
}
"""Class of an activation made of several kernels -> the same function as one."""

KEEP_THEIR_INPUT = {
    *("SiLU", "SiLUActivation"),
    *("GELU", "GELUActivation", "GELUTanh", "NewGELUActivation"),
}
"""Classes of activations whose gradient needs their input, which is kept in any case."""


def cheaper_activations(
    model: nn.Module, *, recompute: bool
) -> Iterator[tuple[nn.Module, Callable[..., Any]]]:
    """Find modules that can compute the same for less, with the forwards that do so.

    Args:
        model: any model.
        recompute: make activations again in the backward pass. Not inside modules that are
            computed again there (`torch.utils.checkpoint`), whose hooks these would hide.
    """
    for parent in model.modules():
        for child in parent.children():
            name = type(child).__name__
            activation = FUSED.get(name, child.forward)
            if recompute and name in KEEP_THEIR_INPUT:
                recomputed = _RecomputedActivation(parent.forward, activation)
                yield child, recomputed.activate
                yield parent, recomputed.forward
            elif name in FUSED:
                yield child, activation


class _RecomputedActivation:
    """A module with an activation whose output is not kept for the backward pass."""

    def __init__(self, forward: Callable[..., Any], activation: Activation) -> None:
        self._forward, self._activation = forward, activation
        self._latest: tuple[weakref.ref[Tensor], Tensor, int, int] | None = None
        self._inside = False

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The module's own forward."""
        if not torch.is_grad_enabled():
            return self._forward(*args, **kwargs)
        self._inside = True
        try:
            with saved_tensors_hooks(self._pack, self._unpack):
                return self._forward(*args, **kwargs)
        finally:
            self._latest, self._inside = None, False

    def activate(self, value: Tensor) -> Tensor:
        """Activate, and remember the input that the output was made of."""
        output = self._activation(value)
        in_place = output is value
        if self._inside and output.requires_grad and not in_place:
            self._latest = weakref.ref(output), value.detach(), output._version, value._version
        return output

    def _pack(self, saved: Tensor) -> Tensor | tuple[Tensor]:
        if self._latest is not None:
            reference, value, *versions = self._latest
            output = reference()
            unwritten = versions == [saved._version, value._version]
            if output is not None and unwritten and _same(saved, output):
                return (value,)
        return saved

    def _unpack(self, kept: Tensor | tuple[Tensor]) -> Tensor:
        if isinstance(kept, Tensor):
            return kept
        with torch.no_grad():
            return self._activation(*kept)


def _same(one: Tensor, other: Tensor) -> bool:
    return (
        one.untyped_storage()._cdata == other.untyped_storage()._cdata
        and one.storage_offset() == other.storage_offset()
        and one.shape == other.shape
        and one.stride() == other.stride()
        and one.dtype == other.dtype
    )

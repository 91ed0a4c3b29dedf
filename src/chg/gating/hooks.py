"""Hooks that multiply every head by its gate, where the head exists."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from chg.config import Unit
from chg.errors import GateError
from chg.models import (
    HeadSite,
    HeadSites,
    SharedProjection,
    in_one_thread,
    shared_projections,
    uncompiled,
)


class AttachedGates:
    """Gates on a model, until `remove()`. Use `gated` unless a notebook needs the handle.

    Set `gates` between forward passes to change them; gradients flow into the tensor given.
    """

    def __init__(
        self,
        model: nn.Module,
        sites: HeadSites,
        gates: Tensor,
        reference: Mapping[int, Tensor] | None = None,
    ) -> None:
        self._sites = sites
        _check_reference(sites, reference)
        self._reference = reference
        self._undo = ExitStack()
        self.gates = gates
        try:
            self._undo.enter_context(in_one_thread(model))
            self._undo.enter_context(uncompiled())
            for projection, turns in shared_projections(sites).items():
                # A reference stands in for heads as they are before any other gates on them.
                first = reference is not None
                hook = self._hook(projection, turns)
                self._keep(projection.register_forward_pre_hook(hook, prepend=first))
                if turns.shared:
                    self._keep(model.register_forward_pre_hook(turns.restart))
        except BaseException:
            self.remove()
            raise

    def _keep(self, handle: RemovableHandle) -> None:
        self._undo.callback(handle.remove)

    @property
    def gates(self) -> Float[Tensor, "*batch layer head"]:
        """The gates in force: `[layer, head]`, or `[batch, layer, head]`, one matrix per row.

        A matrix with as many columns as key-value groups gates whole groups.
        """
        return self._gates

    @gates.setter
    def gates(self, gates: Float[Tensor, "*batch layer head"]) -> None:
        expected, groups = self._sites.shape, self._sites.group_shape
        if gates.dim() not in (2, 3) or tuple(gates.shape[-2:]) not in (expected, groups):
            grouped = f", in {groups[1]} key-value groups" if groups != expected else ""
            raise GateError(
                f"gates of shape {tuple(gates.shape)} do not fit this model: it has {expected[0]} "
                f"layers x {expected[1]} heads{grouped}, so {expected} or (batch, *{expected})"
            )
        self.unit: Unit = "head" if tuple(gates.shape[-2:]) == expected else "kv_group"
        # Gates stay in (at least) float32: a bfloat16 gate has 8 bits, too few to follow a fit.
        self._gates = gates.to(torch.promote_types(gates.dtype, torch.float32))

    def remove(self) -> None:
        """Take these gates off the model; other contexts on it stay."""
        self._undo.close()

    def _hook(self, projection: nn.Module, turns: SharedProjection) -> Any:
        def scale(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
            if module is not projection:
                return args  # a copy of the model, which no gates were put on
            site = turns.next()
            if self.unit == "head":
                gates = self._gates[..., site.layer, : site.num_heads]
            else:
                of_groups = self._gates[..., site.layer, : site.num_kv_heads]
                gates = of_groups.repeat_interleave(site.num_heads // site.num_kv_heads, dim=-1)
            reference = None if self._reference is None else self._reference[site.layer]
            return scale_heads(args[0], gates, site, reference), *args[1:]

        return scale


def _check_reference(sites: HeadSites, reference: Mapping[int, Tensor] | None) -> None:
    if reference is None:
        return
    for site in sites:
        found = reference.get(site.layer)
        width = site.num_heads * site.head_dim
        if found is None or found.dim() != 3 or found.shape[-1] != width:
            shape = "none" if found is None else tuple(found.shape)
            raise GateError(
                f"the reference of layer {site.layer} must be (1 or rows, 1 or positions, {width})"
                f", found {shape}; it belongs to another model"
            )


def scale_heads(
    heads: Float[Tensor, "batch *pos width"],
    gates: Float[Tensor, "*batch head"],
    site: HeadSite,
    reference: Float[Tensor, "row place whole"] | None = None,
) -> Float[Tensor, "batch *pos width"]:
    """Multiply each head's slice by its gate, computed in float32 and returned in `heads.dtype`.

    Args:
        heads: what enters the projection.
        gates: one per head, for all rows or for each.
        site: the projection.
        reference: what closed gates are filled up with, `gate * head + (1 - gate) * reference`;
            of one row or all, of one position or all, heads side by side.

    Raises:
        ArchitectureError: `heads` is of another width than the projection takes.
        GateError: there are several gate matrices, but not one per row; or the reference is for
            other rows or positions.
    """
    per_head = site.per_head(heads)
    if gates.dim() == 2:
        if gates.shape[0] != heads.shape[0]:
            raise GateError(
                f"{gates.shape[0]} gate matrices were given for a batch of {heads.shape[0]} rows; "
                "give one per row, or a single [layer, head] matrix for all"
            )
        gates = gates.view(gates.shape[0], *[1] * (per_head.dim() - 3), site.num_heads)
    gates = gates.to(heads.device)[..., None]
    gated_heads: Tensor = per_head * gates
    if reference is not None:
        # In the precision of the product: the rest of a float32 gate rounds in float32.
        closed = 1 - gates.to(gated_heads.dtype)
        gated_heads = gated_heads + closed * _reference_per_head(reference, per_head)
    return gated_heads.to(heads.dtype).view_as(heads)


def _reference_per_head(reference: Tensor, per_head: Tensor) -> Tensor:
    """A reference in the shape of `[row, (pos,) head, head_dim]`, or broadcast to it."""
    rows, positions = per_head.shape[0], per_head.shape[1] if per_head.dim() > 3 else 1
    if reference.shape[0] not in (1, rows) or reference.shape[1] not in (1, positions):
        raise GateError(
            f"the reference is for {reference.shape[0]} rows of {reference.shape[1]} positions, "
            f"this pass has {rows} of {positions}; a reference by row or position goes with one "
            "pass over the whole batch it was made for"
        )
    split: Tensor = reference.to(per_head.device).unflatten(-1, per_head.shape[-2:])
    return split if per_head.dim() > 3 else split[:, 0]

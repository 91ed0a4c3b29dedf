"""Hooks that multiply every head, and every MLP block, by its gate, where it exists."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from chg.config import UNIT_NAMES, Unit
from chg.errors import GateError
from chg.models import (
    HeadSite,
    HeadSites,
    MlpSite,
    SharedModule,
    SiteKey,
    first_output,
    in_one_thread,
    shared_mlps,
    shared_projections,
    uncompiled,
)


class AttachedGates:
    """Gates on a model, until `remove()`. Use `gated` unless a notebook needs the handle.

    Set `gates` between forward passes to change them; gradients flow into the tensor given.
    """

    unit: Unit
    """Unit that has the gates in force."""

    def __init__(
        self,
        model: nn.Module,
        sites: HeadSites,
        gates: Tensor,
        reference: Mapping[SiteKey, Tensor] | None = None,
    ) -> None:
        self._model = model
        self._sites = sites
        self._reference = reference
        # A reference stands in for heads and MLPs as they are before any other gates on them.
        self._first = reference is not None
        self._gates_mlps = False
        self._undo = ExitStack()
        try:
            self._undo.enter_context(in_one_thread(model))
            self._undo.enter_context(uncompiled())
            self.gates = gates
            for projection, turns in shared_projections(sites).items():
                hook = self._hook(projection, turns)
                self._keep(projection.register_forward_pre_hook(hook, prepend=self._first), turns)
        except BaseException:
            self.remove()
            raise

    def _keep(self, handle: RemovableHandle, turns: SharedModule[Any]) -> None:
        self._undo.callback(handle.remove)
        if turns.shared:
            self._undo.callback(self._model.register_forward_pre_hook(turns.restart).remove)

    @property
    def gates(self) -> Float[Tensor, "*batch layer column"]:
        """The gates in force: `[layer, head]`, or `[batch, layer, head]`, one matrix per row.

        A matrix with as many columns as key-value groups gates whole groups; one with a column more
        than heads gates MLP blocks by the last.
        """
        return self._gates

    @gates.setter
    def gates(self, gates: Float[Tensor, "*batch layer column"]) -> None:
        unit = self._sites.unit_of(gates)
        if gates.dim() not in (2, 3) or unit is None:
            raise GateError(_wrong_shape(gates, self._sites))
        _check_reference(self._sites, self._reference, unit)
        self.unit = unit
        # Gates stay in (at least) float32: a bfloat16 gate has 8 bits, too few to follow a fit.
        self._gates = gates.to(torch.promote_types(gates.dtype, torch.float32))
        if unit == "head_and_mlp" and not self._gates_mlps:
            self._gates_mlps = True
            for module, turns in shared_mlps(self._sites).items():
                hook = self._hook_behind(module, turns)
                self._keep(module.register_forward_hook(hook, prepend=self._first), turns)

    def remove(self) -> None:
        """Take these gates off the model; other contexts on it stay."""
        self._undo.close()

    def _hook(self, projection: nn.Module, turns: SharedModule[HeadSite]) -> Any:
        def scale(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
            if module is not projection:
                return args  # a copy of the model, which no gates were put on
            site = turns.next()
            if self.unit == "kv_group":
                of_groups = self._gates[..., site.layer, : site.num_kv_heads]
                gates = of_groups.repeat_interleave(site.num_heads // site.num_kv_heads, dim=-1)
            else:
                gates = self._gates[..., site.layer, : site.num_heads]
            reference = None if self._reference is None else self._reference[site.key]
            return scale_heads(args[0], gates, site, reference), *args[1:]

        return scale

    def _hook_behind(self, mlp: nn.Module, turns: SharedModule[MlpSite]) -> Any:
        def scale(module: nn.Module, _args: tuple[Any, ...], output: Any) -> Any:
            if module is not mlp:
                return output  # a copy of the model
            site = turns.next()
            if self.unit != "head_and_mlp":
                return output  # other gates have been set since
            reference = None if self._reference is None else self._reference[site.key]
            return scale_mlp(output, self._gates[..., site.layer, -1], reference)

        return scale


def _wrong_shape(gates: Tensor, sites: HeadSites) -> str:
    expected, groups = sites.shape, sites.group_shape
    grouped = f", in {groups[1]} key-value groups" if groups != expected else ""
    mlps = f", and {expected[1] + 1} columns with MLPs" if sites.mlps else ""
    return (
        f"gates of shape {tuple(gates.shape)} do not fit this model: it has {expected[0]} "
        f"layers x {expected[1]} heads{grouped}, so {expected} or (batch, *{expected}){mlps}"
    )


def require_reference_for(unit: Unit, complete: bool) -> None:
    """See that gates of a unit meet a reference that has all they need.

    Raises:
        GateError: it is not complete.
    """
    if not complete:
        raise GateError(
            f"the reference is of heads alone, the gates are of {UNIT_NAMES[unit][1]}; make it "
            f'with unit="{unit}"'
        )


def _check_reference(
    sites: HeadSites, reference: Mapping[SiteKey, Tensor] | None, unit: Unit
) -> None:
    if reference is None:
        return
    for site in sites:
        found = reference.get(site.key)
        width = site.num_heads * site.head_dim
        if found is None or found.dim() != 3 or found.shape[-1] != width:
            shape = "none" if found is None else tuple(found.shape)
            raise GateError(
                f"the reference of layer {site.layer} must be (1 or rows, 1 or positions, {width})"
                f", found {shape}; it belongs to another model"
            )
    require_reference_for(unit, all(site.key in reference for site in sites.gated(unit)))


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
        _require_rows(gates, heads.shape[0])
        gates = gates.view(gates.shape[0], *[1] * (per_head.dim() - 3), site.num_heads)
    if reference is not None:
        reference = _reference_per_head(reference, per_head)
    return _blend(per_head, gates[..., None], reference).view_as(heads)


def scale_mlp(
    output: Any,
    gates: Float[Tensor, "*batch"],
    reference: Float[Tensor, "row place whole"] | None = None,
) -> Any:
    """Multiply what an MLP block adds by its gate, as `scale_heads` multiplies heads.

    Args:
        output: what leaves the block, `[batch, (pos,) width]`, also with rows and positions in one
            dimension; of several values the first.
        gates: one for all rows, or for each.
        reference: what closed gates are filled up with.

    Raises:
        GateError: as `scale_heads`.
    """
    added = first_output(output)
    known = () if reference is None else reference.shape[:2]
    rows, places = max(gates.numel(), *known[:1], 1), max(*known[1:], 1, 1)
    apart = added
    if added.dim() == 2 and len(added) % (rows * places) == 0:
        split = (rows, -1) if gates.dim() or rows > 1 else (-1, places)
        apart = added.view(*split, added.shape[-1])
    if gates.dim():
        _require_rows(gates, apart.shape[0])
    if reference is not None:
        _require_places(reference, *apart.shape[:2])
        reference = reference.to(apart.device)
    scaled = _blend(apart, gates.view(-1, *[1] * (apart.dim() - 1)), reference).view_as(added)
    return (scaled, *output[1:]) if isinstance(output, tuple) else scaled


def _blend(values: Tensor, gates: Tensor, reference: Tensor | None) -> Tensor:
    """Multiply in float32 or wider, fill up with the reference, and round back once."""
    gates = gates.to(values.device)
    blended = values * gates
    if reference is not None:
        # In the precision of the product: the rest of a float32 gate rounds in float32.
        closed = 1 - gates.to(blended.dtype)
        blended = blended + closed * reference
    return blended.to(values.dtype)


def _require_rows(gates: Tensor, rows: int) -> None:
    if gates.shape[0] != rows:
        raise GateError(
            f"{gates.shape[0]} gate matrices were given for a batch of {rows} rows; "
            "give one per row, or a single [layer, head] matrix for all"
        )


def _require_places(reference: Tensor, rows: int, positions: int) -> None:
    if reference.shape[0] not in (1, rows) or reference.shape[1] not in (1, positions):
        raise GateError(
            f"the reference is for {reference.shape[0]} rows of {reference.shape[1]} positions, "
            f"this pass has {rows} of {positions}; a reference by row or position goes with one "
            "pass over the whole batch it was made for"
        )


def _reference_per_head(reference: Tensor, per_head: Tensor) -> Tensor:
    """A reference in the shape of `[row, (pos,) head, head_dim]`, or broadcast to it."""
    rows, positions = per_head.shape[0], per_head.shape[1] if per_head.dim() > 3 else 1
    _require_places(reference, rows, positions)
    split: Tensor = reference.to(per_head.device).unflatten(-1, per_head.shape[-2:])
    return split if per_head.dim() > 3 else split[:, 0]

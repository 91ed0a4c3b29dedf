"""Places in a model that have gates, layer by layer: its attention heads, and its MLP blocks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias, get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from chg.config import Unit
from chg.errors import ArchitectureError
from chg.models.mlps import MlpSite

SiteKey: TypeAlias = int | str
"""Name of a place with gates: the layer of heads, the path of an MLP."""


@dataclass(frozen=True)
class HeadSite:
    """Heads of one layer: the projection that they feed, and their shares of its input."""

    layer: int
    path: str
    """Dotted path of the projection from the model, for people."""
    attention: nn.Module
    projection: nn.Module
    num_heads: int
    head_dim: int
    num_kv_heads: int
    """Groups of neighbouring query heads that share keys and values; all heads, if none do."""

    @property
    def key(self) -> int:
        """Name of what belongs to these heads."""
        return self.layer

    def per_head(self, value: Tensor) -> Float[Tensor, "batch *pos head head_dim"]:
        """Split the input of the projection into one slice per head (a view).

        Raises:
            ArchitectureError: it is of another width.
        """
        if value.dim() > 2 and value.shape[-1] * value.shape[-2] == self.num_heads * self.head_dim:
            value = value.flatten(-2)  # a projection in blocks takes [..., block, width]
        if value.shape[-1] != self.num_heads * self.head_dim:
            raise ArchitectureError(
                f"{self.path} was given {value.shape[-1]} values per token, expected "
                f"{self.num_heads} heads x {self.head_dim}"
            )
        heads: Tensor = value.unflatten(-1, (self.num_heads, self.head_dim))
        return heads


@dataclass(frozen=True)
class HeadSites:
    """All heads of a model, and its MLP blocks, layer by layer; layers without heads have no site.

    Layers are counted through in models with several stacks, or several attentions per layer.
    """

    sites: tuple[HeadSite, ...]
    num_layers: int
    layers: tuple[nn.Module, ...] = ()
    """The decoder layers, where each is run once and has one row; otherwise empty."""
    mlps: tuple[MlpSite, ...] = ()
    """The MLP blocks, part by part; empty where they were not found."""

    def __iter__(self) -> Iterator[HeadSite]:
        return iter(self.sites)

    def __len__(self) -> int:
        return len(self.sites)

    def __getitem__(self, index: int) -> HeadSite:
        return self.sites[index]

    @property
    def shape(self) -> tuple[int, int]:
        """`(layers, heads)` of the gate matrix: all layers, and the most heads of any."""
        return self.num_layers, max(site.num_heads for site in self.sites)

    @property
    def group_shape(self) -> tuple[int, int]:
        """`(layers, key-value groups)`, the shape of a gate matrix with one gate per group."""
        return self.num_layers, max(site.num_kv_heads for site in self.sites)

    def unit_shape(self, unit: Unit) -> tuple[int, int]:
        """Shape of the gate matrix of a unit; MLP blocks have a column behind those of the heads.

        Raises:
            ArchitectureError: MLP blocks are to have gates, and were not found.
        """
        if unit == "kv_group":
            return self.group_shape
        layers, heads = self.shape
        if unit == "head":
            return layers, heads
        if not self.mlps:
            raise ArchitectureError(
                "the MLP blocks of this model were not found, so that they can have no gates; use "
                "--unit head, or name them with chg.register_architecture(..., mlp=...)"
            )
        return layers, heads + 1

    def unit_of(self, gates: Tensor) -> Unit | None:
        """Read off the shape of a gate matrix what has its gates; None where no unit has that."""
        units: tuple[Unit, ...] = get_args(Unit)
        known = [unit for unit in units if unit != "head_and_mlp" or self.mlps]
        shape = tuple(gates.shape[-2:])
        return next((unit for unit in known if self.unit_shape(unit) == shape), None)

    def gated(self, unit: Unit) -> tuple[HeadSite | MlpSite, ...]:
        """All places that have gates of a unit: those of heads, and with `head_and_mlp` of MLPs."""
        return (*self.sites, *self.mlps) if unit == "head_and_mlp" else self.sites

    def per_head(
        self, gates: Float[Tensor, "*batch layer unit"]
    ) -> Float[Tensor, "*batch layer column"]:
        """Turn gates of groups into one per head, 0 where there is none; keep all others."""
        if tuple(gates.shape[-2:]) != self.group_shape or self.group_shape == self.shape:
            return gates
        heads = gates.new_zeros(*gates.shape[:-2], *self.shape)
        for site in self.sites:
            group = gates[..., site.layer, : site.num_kv_heads]
            each = group.repeat_interleave(site.num_heads // site.num_kv_heads, dim=-1)
            heads[..., site.layer, : site.num_heads] = each
        return heads

    def existing(self, unit: Unit = "head") -> Bool[Tensor, "layer unit"]:
        """Entries of the gate matrix that are heads (groups, MLPs); all of them, in most models.

        Raises:
            ArchitectureError: as `unit_shape`.
        """
        exists = torch.zeros(self.unit_shape(unit), dtype=torch.bool)
        for site in self.sites:
            count = site.num_kv_heads if unit == "kv_group" else site.num_heads
            exists[site.layer, :count] = True
        if unit == "head_and_mlp":
            exists[[mlp.layer for mlp in self.mlps], -1] = True
        return exists

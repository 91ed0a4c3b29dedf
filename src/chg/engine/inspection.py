"""Inspection of a model: its heads, groups, MLPs, sizes and paths, checked."""

from __future__ import annotations

from dataclasses import dataclass

from chg.config import Unit
from chg.engine.capabilities import Mode, capabilities
from chg.gating import check_head_sites, check_mlp_sites
from chg.models import (
    AnyModel,
    architecture_name,
    count_weights,
    find_head_sites,
    plain_torch,
    quantization,
    unwrap_model,
)


@dataclass(frozen=True)
class Inspection:
    """The heads of a model whose check passed."""

    architecture: str
    num_layers: int
    layers_with_heads: tuple[int, ...]
    num_heads: tuple[int, ...]
    """Query heads of each of these layers."""
    num_kv_heads: tuple[int, ...]
    """Key-value groups of each of them."""
    head_dim: tuple[int, ...]
    """Values that one head hands to the projection, in each of them."""
    projections: tuple[str, ...]
    """Path of each attention output projection from the model."""
    parameters: int
    parameters_in_heads: int
    """Parameters of the attention modules."""
    quantization: str
    """As in `bitsandbytes 4bit` or `dequantised from Q4_1`; `none` where nothing says so."""
    starts: Mode
    """Start of passes: `inside` layers, at the beginning of `layers`, or of the whole model."""
    shareable: int
    """Length up to which rows that begin alike share it; 0 if they cannot."""
    mlps: tuple[str, ...] = ()
    """Path of each module whose output is what an MLP block adds; empty where it was not asked."""

    def __repr__(self) -> str:
        return (
            f"<Inspection of a {self.architecture}: {sum(self.num_heads)} heads in "
            f"{len(self.layers_with_heads)} of {self.num_layers} layers, {self.parameters:,} "
            "parameters>"
        )


@plain_torch()
def inspect_model(model: AnyModel, unit: Unit = "head") -> Inspection:
    """Find a model's heads and prove on four tokens that gates do what they should.

    Args:
        model: a causal language model; left as it is.
        unit: with `head_and_mlp`, the same for its MLP blocks.

    Raises:
        ArchitectureError: the heads or the MLPs were not found, or a check failed.
    """
    model = unwrap_model(model)
    sites = find_head_sites(model)
    check_head_sites(model, sites)
    if unit == "head_and_mlp":
        check_mlp_sites(model, sites)
    able = capabilities(model)
    in_heads = {id(p): count_weights(p) for site in sites for p in site.attention.parameters()}
    return Inspection(
        architecture=architecture_name(model),
        num_layers=sites.num_layers,
        layers_with_heads=tuple(site.layer for site in sites),
        num_heads=tuple(site.num_heads for site in sites),
        num_kv_heads=tuple(site.num_kv_heads for site in sites),
        head_dim=tuple(site.head_dim for site in sites),
        projections=tuple(site.path for site in sites),
        parameters=sum(count_weights(p) for p in model.parameters()),
        parameters_in_heads=sum(in_heads.values()),
        quantization=quantization(model),
        starts=able.mode,
        shareable=able.max_shared_length,
        mlps=tuple(mlp.path for mlp in sites.mlps) if unit == "head_and_mlp" else (),
    )

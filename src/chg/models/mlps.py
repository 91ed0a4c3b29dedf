"""Search for a model's MLP blocks: known layouts (`layouts.py`), else by the names the field uses.

An MLP block, dense or a mixture of experts, has one gate, which multiplies all that the block adds
to the residual stream. So what has to be found is the module whose output is added:

1. The block itself, or the last matrix where a layer holds its matrices bare (OPT), or where the
   block adds the residual stream by itself (BLOOM, in `LAYOUTS`).
2. The norm behind the block, where a family has one (Gemma 2): to scale what enters it would scale
   nothing.
3. Each of them, where a layer adds several (Granite's experts, and the MLP that all tokens share).

A layer may have no block. What is found here is a guess by names, which `gating.check_mlp_sites`
proves on a few tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from chg.models.layouts import PROBED_MLP, PROBED_MLP_NORM, Layout


@dataclass(frozen=True)
class MlpSite:
    """Module whose output is what an MLP block, or a part of one, adds to the residual stream."""

    layer: int
    path: str
    """Dotted path of the module from the model, for people."""
    module: nn.Module
    decoder_layer: nn.Module

    @property
    def key(self) -> str:
        """Name of what belongs to this place."""
        return self.path


def find_mlp_sites(
    layers: Sequence[tuple[str, nn.Module]],
    attentions: Mapping[int, nn.Module],
    layout: Layout | None,
) -> tuple[MlpSite, ...]:
    """Find the MLP blocks of all layers; none at all where any seems to hold one unseen.

    Args:
        layers: every decoder layer with its path.
        attentions: layer -> its attention module.
        layout: names that are known of the family.
    """
    sites: list[MlpSite] = []
    for i, (path, layer) in enumerate(layers):
        found = _locate(layer, layout)
        if not found and i in attentions and _holds_more(layer, attentions[i]):
            return ()
        sites += [MlpSite(i, f"{path}.{name}", module, layer) for name, module in found.items()]
    return tuple(sites)


def _locate(layer: nn.Module, layout: Layout | None) -> dict[str, nn.Module]:
    if layout is not None and layout.mlp is not None:
        return _modules(layer, (layout.mlp,))
    found = _modules(layer, PROBED_MLP)
    return (_modules(layer, PROBED_MLP_NORM) or found) if found else {}


def _modules(layer: nn.Module, names: Sequence[str]) -> dict[str, nn.Module]:
    """Take the modules of a layer that are there, by their dotted names."""
    modules = dict(layer.named_modules())
    lists = (nn.ModuleList, nn.Identity)
    return {n: modules[n] for n in names if n in modules and not isinstance(modules[n], lists)}


def _holds_more(layer: nn.Module, attention: nn.Module) -> bool:
    """Tell a layer that has matrices outside its attention."""
    own = {id(weight) for weight in attention.parameters()}
    return any(weight.dim() > 1 and id(weight) not in own for weight in layer.parameters())

"""MLP blocks gated by hand: in the weights, by another forward, and in one plain pass per row.

The weights that a block ends with are written down here by name, because what the package finds is
what is being tested.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from chg.models.architectures import find_head_sites

LAST_MATRICES = ("down_proj", "c_proj", "dense_4h_to_h", "fc2", "fc_out", "w2", "output_linear")
"""names of the matrices that MLP blocks end with, experts' among them"""
NORMS_BEHIND = ("post_feedforward_layernorm", "post_mlp_layernorm")
"""names of norms between an MLP block and the residual stream"""
ONE_MORE = ("Gemma2RMSNorm", "Gemma3RMSNorm")
"""norms that multiply by one more than their weight"""


def with_mlps(gates: Tensor, of_mlps: Tensor) -> Tensor:
    """Gates of heads with those of MLP blocks as the last column."""
    return torch.cat([gates, of_mlps[:, None]], dim=1)


def decoder_layers(model: nn.Module) -> list[nn.Module]:
    """The decoder layers, from all lists of modules that have attention in them."""
    attentions = {site.attention for site in find_head_sites(model)}
    lists = [m for m in model.modules() if isinstance(m, nn.ModuleList)]
    return [layer for m in lists if attentions & set(m.modules()) for layer in m]


@torch.no_grad()
def fold_mlps(model: nn.Module, gates: Tensor) -> nn.Module:
    """The same model with the gate of every layer's MLP multiplied into its weights and biases."""
    folded = copy.deepcopy(model)
    attention = {site.layer: site.attention for site in find_head_sites(folded)}
    for i, layer in enumerate(decoder_layers(folded)):
        norms = [getattr(layer, name) for name in NORMS_BEHIND if hasattr(layer, name)]
        if norms:
            shift = 1.0 if type(norms[0]).__name__ in ONE_MORE else 0.0
            weight = norms[0].weight
            weight.copy_((weight + shift) * gates[i] - shift)
            continue
        others = {id(p) for p in attention[i].parameters()} if i in attention else set()
        ends = [
            weight
            for name, weight in layer.named_parameters()
            if id(weight) not in others
            and any(part.removesuffix("_bias") in LAST_MATRICES for part in name.split("."))
        ]
        for weight in ends:
            weight *= gates[i]
    return folded


@contextmanager
def mlps_without_output(model: nn.Module, layers: list[int]) -> Iterator[None]:
    """Let the MLP blocks of some layers return zeros, by another forward of their last module."""
    changed: list[nn.Module] = []
    for i in layers:
        layer = decoder_layers(model)[i]
        names = (*NORMS_BEHIND, "mlp", "feed_forward", "block_sparse_moe", "ffn", "fc2")
        module: Any = next(getattr(layer, name) for name in names if hasattr(layer, name))
        own = module.forward

        def zeros(*args: Any, own: Any = own, **kwargs: Any) -> Any:
            output = own(*args, **kwargs)
            if isinstance(output, tuple):
                return torch.zeros_like(output[0]), *output[1:]
            return torch.zeros_like(output)

        module.forward = zeros
        changed.append(module)
    try:
        yield
    finally:
        for module in changed:
            del module.__dict__["forward"]

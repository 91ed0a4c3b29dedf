"""MLP blocks gated by hand: in the weights, and in one plain pass per row by another forward.

The weights and modules that a block ends with are written down here by name, because what the
package finds is what is being tested.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from chg.config.choices import AblationKind
from chg.data.tokens import TokenData
from chg.models.architectures import find_head_sites
from support.by_hand import stand_ins, sums_by_hand
from support.decoders import fold

FAMILIES = """
bloom deepseek_v3 falcon gemma2 gemma3_text glm4 gpt2 gpt_neox gpt_oss lfm2_moe llama llama4_text
mistral mixtral mpt olmo2 opt phi3 qwen2 qwen3 zamba2
""".split()  # noqa: SIM905
"""Dense and of experts; norms behind the block; beside the attention, with the stream inside, with
several values, with rows and positions in one dimension; layers without heads, and shared ones."""

LAST_MATRICES = ("down_proj", "c_proj", "dense_4h_to_h", "fc2", "w2")
"""names of the matrices that MLP blocks end with, experts' among them"""
NORMS_BEHIND = ("post_feedforward_layernorm", "post_mlp_layernorm")
"""names of norms between an MLP block and the residual stream"""
ONE_MORE = ("Gemma2RMSNorm", "Gemma3RMSNorm")
"""norms that multiply by one more than their weight"""
LAST_MODULES = (
    *NORMS_BEHIND,
    *("mlp.dense_4h_to_h", "ffn.down_proj", "shared_transformer.feed_forward"),
    *("mlp", "feed_forward", "fc2"),
)
"""dotted names of the modules that MLP blocks end with, the first that a layer has"""

Stand = Mapping[int, Tensor]
"""layer -> `[pos, width]`: what stands in for its MLP in one row"""


def decoder_layers(model: nn.Module) -> list[nn.Module]:
    """The decoder layers, from all lists of modules that have attention in them."""
    attentions = {site.attention for site in find_head_sites(model)}
    lists = [m for m in model.modules() if isinstance(m, nn.ModuleList)]
    return [layer for m in lists if attentions & set(m.modules()) for layer in m]


def last_modules(model: nn.Module) -> dict[int, nn.Module]:
    """Layer -> the module that its MLP ends with."""
    found: dict[int, nn.Module] = {}
    for i, layer in enumerate(decoder_layers(model)):
        modules = dict(layer.named_modules())
        there = [modules[name] for name in LAST_MODULES if name in modules]
        found |= {i: there[0]} if there else {}
    return found


@torch.no_grad()
def fold_all(model: nn.Module, gates: Tensor) -> nn.Module:
    """The same model with the gates of heads and, in the last column, MLPs in its weights."""
    folded = fold(model, gates[:, :-1])
    attention = {site.layer: site.attention for site in find_head_sites(folded)}
    for i, layer in enumerate(decoder_layers(folded)):
        gate = gates[i, -1]
        norms = [getattr(layer, name) for name in NORMS_BEHIND if hasattr(layer, name)]
        if norms:
            shift = 1.0 if type(norms[0]).__name__ in ONE_MORE else 0.0
            norms[0].weight.copy_((norms[0].weight + shift) * gate - shift)
            continue
        own = set(attention[i].modules()) if i in attention else set()
        for path, module in layer.named_modules():
            for name, weight in list(module._parameters.items()):
                parts = [*path.split("."), name.removesuffix("_bias")]
                if weight is not None and module not in own and set(parts) & set(LAST_MATRICES):
                    # A new one, because Zamba's layers share theirs.
                    module._parameters[name] = nn.Parameter(weight * gate)
    return folded


@contextmanager
def mlps_by_hand(
    model: nn.Module, gates: Tensor, references: Stand | None = None
) -> Iterator[None]:
    """Scale what the MLP of every layer returns, `[1, pos, width]`, by another forward of it."""
    modules: dict[nn.Module, list[int]] = {}
    for i, module in last_modules(model).items():
        modules.setdefault(module, []).append(i)
    for module, layers in modules.items():
        uses, own = [0], module.forward

        def forward(
            *args: Any, own: Any = own, of: Any = layers, uses: Any = uses, **settings: Any
        ) -> Any:
            layer = of[uses[0] % len(of)]
            uses[0] += 1
            output = own(*args, **settings)
            added = output[0] if isinstance(output, tuple) else output
            scaled = added * gates[layer]
            if references is not None:
                scaled = scaled + (1 - gates[layer]) * references[layer].view_as(added)
            return (scaled, *output[1:]) if isinstance(output, tuple) else scaled

        module.forward = forward
    try:
        yield
    finally:
        for module in modules:
            del module.__dict__["forward"]


@torch.no_grad()
def leaving_mlps(model: nn.Module, ids: tuple[int, ...]) -> dict[int, Tensor]:
    """`[pos, width]` by layer: what leaves every MLP, in one pass over one row."""
    seen: dict[int, Tensor] = {}

    def note(layer: int, output: Any) -> None:
        added = output[0] if isinstance(output, tuple) else output
        seen[layer] = added.reshape(len(ids), -1)

    handles = [
        module.register_forward_hook(lambda _m, _a, output, i=i: note(i, output))
        for i, module in last_modules(model).items()
    ]
    model(input_ids=torch.tensor([ids]), use_cache=False)
    for handle in handles:
        handle.remove()
    return seen


def stand_ins_of_mlps(
    model: nn.Module, data: TokenData, kind: AblationKind, per_position: bool
) -> list[Stand]:
    """What stands in for the MLPs of every row."""
    if kind == "resample":
        others = [leaving_mlps(model, row.reference_ids or ()) for row in data.rows]
        return [
            {
                layer: added[[min(j, len(added) - 1) for j in range(len(row.ids))]]
                for layer, added in found.items()
            }
            for row, found in zip(data.rows, others, strict=True)
        ]
    every = [leaving_mlps(model, row.ids) for row in data.rows]

    def at(layer: int, j: int) -> Tensor:
        those = [row[layer][j : j + 1] if per_position else row[layer] for row in every]
        return torch.cat(those).mean(0)

    return [
        {layer: torch.stack([at(layer, j) for j in range(len(row.ids))]) for layer in every[0]}
        for row in data.rows
    ]


def sums_of_all(
    model: nn.Module, data: TokenData, gates: Tensor, kind: tuple[AblationKind, bool]
) -> np.ndarray:
    """`[row]`: summed target log-probabilities, heads and MLPs replaced by hand, row by row."""
    heads, mlps = (find(model, data, *kind) for find in (stand_ins, stand_ins_of_mlps))
    sums = []
    for i, row in enumerate(data.rows):
        with mlps_by_hand(model, gates[:, -1], mlps[i]):
            alone = replace(data, rows=(row,))
            sums.append(sums_by_hand(model, alone, [heads[i]], gates[:, :-1])[0])
    return np.array(sums)


def one_out(model: nn.Module) -> list[Tensor]:
    """All heads and MLPs open, then each closed alone."""
    exists = find_head_sites(model).existing("head_and_mlp")
    matrices = [exists.float()]
    for place in exists.nonzero().tolist():
        matrices.append(exists.float())
        matrices[-1][tuple(place)] = 0
    return matrices


def soft(model: nn.Module, seed: int = 1) -> Tensor:
    """Random gates of heads and MLPs between 0 and 1."""
    shape = find_head_sites(model).unit_shape("head_and_mlp")
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)).double()

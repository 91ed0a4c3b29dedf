"""Heads replaced by their mean or by another row's, in one plain hooked pass per row."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from chg.config.choices import AblationKind
from chg.data.partners import with_partners
from chg.data.tokens import TokenData
from chg.models.architectures import find_head_sites
from support.decoders import build
from support.rows import ragged_data
from support.tiny_models import FAMILIES, compute_in_float64, make_model

KINDS: list[tuple[AblationKind, bool]] = [("mean", False), ("mean", True), ("resample", False)]


def make_any(name: str) -> nn.Module:
    """A float64 model of a family by name, of a model type, or with a projection shared."""
    if name == "shared":
        model = compute_in_float64(build("llama"))  # type: ignore[arg-type]
        layers = model.model.layers
        layers[2].self_attn = layers[0].self_attn
        return model
    return compute_in_float64(make_model(name)) if name in FAMILIES else build(name)


def entering_projections(model: nn.Module, ids: tuple[int, ...]) -> dict[int, Tensor]:
    """`[use, pos, width]` by layer: what enters every projection, in one pass over one row."""
    sites, found, handles = find_head_sites(model), {}, []
    owners: dict[nn.Module, list[int]] = {}
    for site in sites:
        owners.setdefault(site.projection, []).append(site.layer)
    for projection, layers in owners.items():
        seen: list[Tensor] = []
        found[tuple(layers)] = seen
        handles.append(
            projection.register_forward_pre_hook(lambda _m, args, to=seen: to.append(args[0][0]))
        )
    with torch.no_grad():
        model(input_ids=torch.tensor([ids]), use_cache=False)
    for handle in handles:
        handle.remove()
    return {
        layer: torch.stack(seen[k :: len(layers)])
        for layers, seen in found.items()
        for k, layer in enumerate(layers)
    }


def stand_ins(
    model: nn.Module, data: TokenData, kind: AblationKind, per_position: bool
) -> list[dict[int, Tensor]]:
    """`[pos, width]` by layer, for every row: what stands in for its heads."""
    if kind == "resample":
        elsewhere = [entering_projections(model, row.reference_ids or ()) for row in data.rows]
        return [
            {
                layer: torch.stack(
                    [heads[0][min(j, heads.shape[1] - 1)] for j in range(len(row.ids))]
                )
                for layer, heads in found.items()
            }
            for row, found in zip(data.rows, elsewhere, strict=True)
        ]
    every = [entering_projections(model, row.ids) for row in data.rows]
    mean = {
        layer: torch.cat([row[layer].flatten(0, 1) for row in every]).mean(0) for layer in every[0]
    }

    def at(layer: int, j: int) -> Tensor:
        those = [row[layer][:, j] for row in every if row[layer].shape[1] > j]
        return torch.cat(those).mean(0) if per_position else mean[layer]

    return [
        {layer: torch.stack([at(layer, j) for j in range(len(row.ids))]) for layer in mean}
        for row in data.rows
    ]


@torch.no_grad()
def sums_by_hand(
    model: nn.Module, data: TokenData, references: list[dict[int, Tensor]], gates: Tensor
) -> np.ndarray:
    """`[row]`: summed target log-probabilities, one pass per row with slices replaced by hand."""
    sums = []
    owners: dict[nn.Module, list[int]] = {}
    heads_of = {site.layer: (site.num_heads, site.head_dim) for site in find_head_sites(model)}
    for site in find_head_sites(model):
        owners.setdefault(site.projection, []).append(site.layer)
    for row, reference in zip(data.rows, references, strict=True):
        handles = []
        for projection, layers in owners.items():
            uses = [0]

            def replace(_m, args, of=layers, uses=uses, reference=reference):  # type: ignore[no-untyped-def]
                layer = of[uses[0] % len(of)]
                uses[0] += 1
                count, width = heads_of[layer]
                heads = args[0].clone()
                for h in range(count):
                    own = slice(h * width, (h + 1) * width)
                    gate = float(gates[layer, h])
                    if gate != 1:
                        heads[0, :, own] *= gate
                        heads[0, :, own] += (1 - gate) * reference[layer][:, own]
                return (heads,)

            handles.append(projection.register_forward_pre_hook(replace))
        logprobs = model(input_ids=torch.tensor([row.ids]), use_cache=False).logits[0]
        for handle in handles:
            handle.remove()
        logprobs = logprobs.double().log_softmax(-1)
        targets = [logprobs[j - 1, t] for j, t in enumerate(row.ids) if row.scored[j]]
        sums.append(float(torch.stack(targets).sum()))
    return np.array(sums)


def one_head_out(model: nn.Module) -> list[Tensor]:
    """All heads open, then each closed alone."""
    exists = find_head_sites(model).existing()
    matrices = [exists.float()]
    for layer, head in exists.nonzero().tolist():
        matrices.append(exists.float())
        matrices[-1][layer, head] = 0
    return matrices


def rows_for(kind: AblationKind) -> TokenData:
    """Ragged rows, with partners where that kind needs them."""
    return with_partners(ragged_data(), 0) if kind == "resample" else ragged_data()

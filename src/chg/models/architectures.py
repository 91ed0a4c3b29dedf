"""Search for a model's attention heads: known layouts (`layouts.py`), else a structural probe.

A head exists only *before* the attention output projection: its output is one slice of that
projection's input (docs/method.md#gates). So all this module has to find is, per layer, the
projection and the number of heads that share its input. Sizes are read from the projection itself,
because `hidden_size` is wrong wherever a configuration sets `head_dim` on its own.

1. Find the stacks of layers: the `ModuleList`s of the text decoder that have attention in them;
   one, in nearly every model.
2. In each layer take the attention modules and their output projections by name: the registered
   layout or the table's for this `model_type`, otherwise the names the field uses. Each is a row of
   the gate matrix. A layer without softmax attention (state space, convolution, linear attention)
   is a row without heads.
3. Heads come from the attention module or the configuration, their size from the projection; both
   are cross-checked. Layers may differ in them.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from chg.config import Unit
from chg.errors import ArchitectureError
from chg.models.describe import architecture_name, is_encoder_decoder, text_config
from chg.models.heads import HeadSite, HeadSites
from chg.models.layouts import (
    NO_HEADS,
    NOT_DECODING,
    PROBED_ATTENTION,
    PROBED_PROJECTION,
    Layout,
    known_layout,
    reason_against,
)
from chg.models.mlps import find_mlp_sites
from chg.models.unwrap import AnyModel, unwrap_model

_Found = tuple[str, nn.Module, nn.Module]
"""dotted path of a projection, its attention module, and the projection"""


def find_head_sites(model: AnyModel) -> HeadSites:
    """Find the attention output projection of every decoder layer that has one, in order.

    Raises:
        ArchitectureError: nothing that looks like attention was found, or the sizes contradict
            each other; the message shows the attention part of the model and the call that
            registers it. Or it is known why this model's heads cannot be gated.
    """
    model = unwrap_model(model)
    name, config, model_type = type(model).__name__, text_config(model), architecture_name(model)
    if is_encoder_decoder(model):
        raise ArchitectureError(
            f"{name} is an encoder-decoder; gates are for decoders over text alone"
        )
    reason = reason_against(model_type)
    if reason is not None:
        raise ArchitectureError(f"the heads of {name} cannot be gated: {reason}")
    layout = known_layout(model_type)
    sites: list[HeadSite] = []
    num_layers = 0
    found: list[tuple[str, nn.ModuleList]] = []
    for stacks in _module_lists(model):
        for path, layers in stacks:
            rows = _rows(config, path, layers, layout)
            seen = {id(site.attention) for site in sites}
            if all(row is None or id(row[1]) in seen for row in rows):
                continue  # no attention, or a list inside a layer of a stack already found
            sites += [
                _site(config, num_layers + i, *row) for i, row in enumerate(rows) if row is not None
            ]
            num_layers += len(rows)
            found.append((path, layers))
        if sites:
            _refuse_others(model, sites)
            return _with_layers(sites, num_layers, found, layout)
    raise ArchitectureError(_not_found(model, model_type, layout))


def _with_layers(
    sites: list[HeadSite],
    num_layers: int,
    stacks: list[tuple[str, nn.ModuleList]],
    layout: Layout | None,
) -> HeadSites:
    """Put heads together with the layers and MLPs around them, where each layer has one row."""
    named = [(f"{path}.{i}", layer) for path, stack in stacks for i, layer in enumerate(stack)]
    one_row_each = len(named) == num_layers
    in_turns = len({id(site.projection) for site in sites}) < len(sites)
    layers = [layer for _, layer in named] if one_row_each and len(stacks) == 1 else []
    attentions = {site.layer: site.attention for site in sites}
    mlps = find_mlp_sites(named, attentions, layout) if one_row_each else ()
    if len({id(mlp.module) for mlp in mlps}) < len(mlps) and not in_turns:
        mlps = ()  # the engine tells layers by their modules
    return HeadSites(tuple(sites), num_layers, () if in_turns else tuple(layers), mlps)


def _module_lists(model: nn.Module) -> list[list[tuple[str, nn.ModuleList]]]:
    """Lists of modules with their paths, those of one part together, the text decoder first."""
    get_decoder = getattr(model, "get_decoder", None)
    decoder = get_decoder() if callable(get_decoder) else None
    prefix = next((name for name, module in model.named_modules() if module is decoder), "")
    parts: dict[tuple[bool, bool], list[tuple[str, nn.ModuleList]]] = {}
    for path, module in model.named_modules():
        if isinstance(module, nn.ModuleList) and len(module) > 0:
            elsewhere = any(part in path for part in NOT_DECODING)
            parts.setdefault((elsewhere, not path.startswith(prefix)), []).append((path, module))
    return [parts[key] for key in sorted(parts)]


def _rows(
    config: Any, path: str, layers: nn.ModuleList, layout: Layout | None
) -> list[_Found | None]:
    """List what each row of a stack's gate matrix gates, under full paths; None has no heads."""
    rows: list[_Found | None] = []
    for i, layer in enumerate(layers):
        found = [] if _is_headless(config, i, len(layers)) else _locate(layer, layout)
        rows += [
            (f"{path}.{i}.{name}", module, projection) for name, module, projection in found
        ] or [None]
    return rows


def _refuse_others(model: nn.Module, sites: list[HeadSite]) -> None:
    """Half of a model's heads must not pass for all of them."""
    found = {id(site.attention) for site in sites}
    kinds = {type(site.attention) for site in sites}
    for path, module in model.named_modules():
        elsewhere = any(part in path for part in NOT_DECODING)
        if type(module) in kinds and id(module) not in found and not elsewhere:
            raise ArchitectureError(
                f"{type(model).__name__} has attention outside the layers of {sites[0].path}, at "
                f"{path}; gates on a part of the heads would pass for gates on all"
            )


def _is_headless(config: Any, layer: int, num_layers: int) -> bool:
    """Read off the configuration whether a layer has no softmax attention."""
    types = getattr(config, "layer_types", None)
    if not isinstance(types, (list, tuple)) or len(types) != num_layers:
        return False
    return any(part in str(types[layer]) for part in NO_HEADS)


def _child(module: nn.Module, dotted: str) -> nn.Module | None:
    for name in filter(None, dotted.split(".")):
        child = getattr(module, name, None)
        if not isinstance(child, nn.Module):
            return None
        module = child
    return module


def _locate(layer: nn.Module, layout: Layout | None) -> list[_Found]:
    """Find each attention of a layer with its projection; nothing where there is no attention."""
    attention_names = (layout.attention,) if layout else PROBED_ATTENTION
    projection_names = (layout.projection,) if layout else PROBED_PROJECTION
    for name in attention_names:
        attention = _child(layer, name)
        parts = {name: attention} if attention is not None else {}
        if isinstance(attention, nn.ModuleList):
            parts = {f"{name}.{i}": part for i, part in attention.named_children()}
        found = [_projection(path, part, projection_names) for path, part in parts.items()]
        if any(found):
            return [located for located in found if located is not None]
    return []


def _projection(path: str, attention: nn.Module, names: tuple[str, ...]) -> _Found | None:
    for name in names:
        projection = _child(attention, name)
        if projection is not None and _in_features(projection) is not None:
            return f"{path}.{name}".lstrip("."), attention, projection
    return None


def _in_features(projection: nn.Module) -> int | None:
    """Width of a projection's input; GPT-2's `Conv1D` stores its weight as [input, output].

    A projection in blocks (DeepSeek-V4) states the width of one.
    """
    in_features = getattr(projection, "in_features", getattr(projection, "nx", None))
    blocks = getattr(projection, "n_groups", 1)
    return None if in_features is None else int(in_features) * blocks


def _site(
    config: Any, layer: int, path: str, attention: nn.Module, projection: nn.Module
) -> HeadSite:
    width = _in_features(projection) or 0
    num_heads = _stated_heads(config, attention)
    if num_heads is None:
        raise ArchitectureError(
            f"the configuration of this model does not say how many heads feed {path}: "
            f"num_attention_heads is {getattr(config, 'num_attention_heads', None)!r}"
        )
    if width % num_heads:
        raise ArchitectureError(
            f"{path} takes {width} values, which {num_heads} heads (num_attention_heads) do not "
            "divide; correct the configuration, or name the right projection with "
            "chg.register_architecture(...)"
        )
    head_dim = width // num_heads
    # Latent attention has values of another size than queries and keys.
    stated = getattr(attention, "v_head_dim", getattr(attention, "head_dim", head_dim))
    if isinstance(stated, int) and stated != head_dim:
        raise ArchitectureError(
            f"{path} takes {width} values = {num_heads} heads of {head_dim}, but the attention "
            f"module says head_dim {stated}; name the right projection with "
            "chg.register_architecture(...)"
        )
    num_kv_heads = _stated_groups(attention, num_heads)
    return HeadSite(layer, path, attention, projection, num_heads, head_dim, num_kv_heads)


def _stated_groups(attention: nn.Module, num_heads: int) -> int:
    """Key-value groups of an attention module; each head is its own where it names none."""
    per_group = getattr(attention, "num_key_value_groups", None)
    if isinstance(per_group, int) and per_group > 0:
        return num_heads // per_group
    groups = getattr(attention, "num_kv_heads", None)
    divides = isinstance(groups, int) and groups > 0 and num_heads % groups == 0
    return int(groups) if divides else num_heads  # type: ignore[arg-type]


def _stated_heads(config: Any, attention: nn.Module) -> int | None:
    """Heads of an attention module: as it says itself, else as the configuration does."""
    names = ("num_heads", "num_attention_heads", "n_heads", "n_head")
    for source in (attention, config):
        for name in names:
            heads = getattr(source, name, None)
            if isinstance(heads, int) and heads > 0:
                return heads
    return None


def _not_found(model: nn.Module, model_type: str, layout: Layout | None) -> str:
    lists = [item for part in _module_lists(model) for item in part]
    lists.sort(key=lambda item: len(item[1]), reverse=True)
    shown = f"{lists[0][0]}.0:\n{lists[0][1][0]}" if lists else str(model)
    looked = (
        f"{layout.attention}.{layout.projection}"
        if layout
        else f"{{{','.join(PROBED_ATTENTION)}}}.{{{','.join(PROBED_PROJECTION)}}}"
    )
    return (
        f"no attention output projection found in {type(model).__name__} (model_type "
        f"{model_type!r}); looked for {looked} in every layer. Register it with "
        f'chg.register_architecture("{model_type}", attention="NAME_IN_LAYER", '
        f'projection="NAME_IN_ATTENTION"), reading the names off this layer:\n{shown}'
    )


def gate_shape(model: nn.Module, unit: Unit = "head") -> tuple[int, int]:
    """`(layers, columns)` of the model's gate matrix, for its heads, groups, or heads and MLP.

    Raises:
        ArchitectureError: the model's heads, or the MLPs that are to have gates, cannot be found.
    """
    return find_head_sites(model).unit_shape(unit)

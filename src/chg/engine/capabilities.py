"""Capabilities of a model: the ways in which its passes can start, found out once per model.

A few tokens run under gates that fork in layers of every kind, plainly and in parts. Where the two
disagree, or the model cannot be run that way, the next simpler way is tried; plain passes are the
last.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, Literal
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from chg.data import LONGEST_PACK, Batch, TokenRow, collate, pack_shared_prefix
from chg.engine.partial_forward import PartialForward
from chg.engine.score_tree import TreeScorer
from chg.engine.state import Outputs
from chg.engine.target_scores import on_device_of, target_scores
from chg.gating import AttachedGates
from chg.models import HeadSite, HeadSites, find_head_sites, frozen, text_config

logger = logging.getLogger(__name__)

TRIAL_TOKENS = 40
"""Tokens per pass of the comparison: few, so that its matrices do not all run together."""

Mode = Literal["inside", "layers", "whole"]
"""Start of passes. inside: inside a layer. layers: at the beginning of one. whole: of the model."""


@dataclass(frozen=True)
class Capabilities:
    """Ways in which a model can be run."""

    mode: Mode
    outputs: Outputs | None = None
    max_shared_length: int = 0
    """Length up to which rows may share a common beginning (`pack_shared_prefix`)."""


_known: WeakKeyDictionary[nn.Module, tuple[list[Any], Capabilities]] = WeakKeyDictionary()


def capabilities(model: nn.Module) -> Capabilities:
    """Find out how a model can be run, once; remembered as long as its modules stay."""
    sites = find_head_sites(model)
    attention = getattr(text_config(model), "_attn_implementation", None)
    identities = [attention, *(id(site.projection) for site in sites)]
    known = _known.get(model)
    if known is None or known[0] != identities:
        with torch.no_grad(), frozen(model):
            known = (identities, _find_out(model, sites))
        _known[model] = known
    return known[1]


def _find_out(model: nn.Module, sites: HeadSites) -> Capabilities:
    """Compare partial with plain passes, on a few tokens, forking in layers of every kind."""
    if not sites.layers:
        return Capabilities("whole")
    size = int(model.get_input_embeddings().weight.shape[0])  # type: ignore[operator]
    ids = [[(7 * i * (j > 1) + 3 * j + 1) % size for j in range(5)] for i in range(2)]
    rows = [TokenRow(tuple(ids[0]), (False, False, True, False, True))]
    rows.append(TokenRow(tuple(ids[1][:4]), (False, False, False, True)))
    batch = on_device_of(model, collate(rows, 0))
    gates = _trial_gates(sites).to(batch.input_ids.device)
    outputs, projects = _outputs(model, sites, batch)
    if batch.input_ids.is_meta:  # shapes alone, nothing to compare
        return Capabilities("inside" if projects else "layers", outputs)
    with_gates = AttachedGates(model, sites, gates.repeat_interleave(2, dim=0))
    try:
        expected = target_scores(model, batch.repeat(len(gates))).logprobs.view(len(gates), -1)
    finally:
        with_gates.remove()
    modes: tuple[Mode, ...] = ("inside", "layers") if projects else ("layers",)
    for mode in modes:
        try:
            logprobs = torch.empty_like(expected)
            with PartialForward(model, sites, outputs, inside=mode == "inside") as forward:
                for matrices, scores in TreeScorer(forward, gates, TRIAL_TOKENS).score(batch):
                    logprobs[matrices] = scores.logprobs.view(len(matrices), -1)
        except Exception as error:  # whatever a model does that was asked for half of itself
            logger.debug("%s cannot run from %s: %s", type(model).__name__, mode, error)
            continue
        if _agree(logprobs, expected, next(model.parameters()).dtype):
            return Capabilities(mode, outputs, _max_shared_length(model, rows))
    return Capabilities("whole")


def _max_shared_length(model: nn.Module, rows: list[TokenRow]) -> int:
    """Find the length up to which rows may share their beginning: the span of any window."""
    try:
        apart, together = (
            target_scores(model, on_device_of(model, batch)).logprobs
            for batch in (collate(rows, 0), pack_shared_prefix(rows, 2))
        )
    except Exception as error:  # masks and positions of our own are too much for some models
        logger.debug("%s cannot share beginnings: %s", type(model).__name__, error)
        return 0
    if not torch.allclose(apart, together, atol=1e-4 if apart.dtype.itemsize > 2 else 0.05):
        return 0
    config = text_config(model)
    spans = [getattr(config, name, None) for name in ("sliding_window", "attention_chunk_size")]
    return min([LONGEST_PACK, *(span for span in spans if isinstance(span, int))])


def _trial_gates(sites: HeadSites) -> Float[Tensor, "matrix layer head"]:
    """Gates that leave the first's path in layers of every kind, once with all above closed."""
    generator = torch.Generator().manual_seed(0)
    first = torch.rand(sites.shape, generator=generator)
    trials = [first]
    for site in _of_every_kind(sites):
        other, closed = first.clone(), first.clone()
        other[site.layer] = torch.rand(sites.shape[1], generator=generator)
        closed[site.layer] = other[site.layer] / 2
        closed[site.layer + 1 :] = 0
        trials += [other, closed]
    return torch.stack(trials) * sites.existing()


def _of_every_kind(sites: HeadSites) -> list[HeadSite]:
    """Take the first, the middle and the last layer of every kind: deep models have few kinds."""
    kinds: dict[object, list[HeadSite]] = {}
    for site in sites:
        modules = (sites.layers[site.layer], site.attention, site.projection)
        kinds.setdefault(tuple(map(_kind, modules)), []).append(site)
    chosen = {
        alike[place].layer: alike[place]
        for alike in kinds.values()
        for place in (0, len(alike) // 2, -1)
    }
    return [chosen[layer] for layer in sorted(chosen)]


def _kind(module: nn.Module) -> object:
    """Class of a module, and all of its plain settings but its own number."""
    plain = (bool, int, float, str, type(None))
    settings = {k: v for k, v in vars(module).items() if isinstance(v, plain) and k != "layer_idx"}
    return type(module), tuple(sorted(settings.items(), key=lambda setting: setting[0]))


def _outputs(model: nn.Module, sites: HeadSites, batch: Batch) -> tuple[Outputs, bool]:
    """Find the return forms, and see if attentions return the output of their projections."""
    layers: dict[int, int | None] = {}
    attentions: dict[int, int | None] = {}
    returned: dict[int, Tensor] = {}
    projected: dict[int, Tensor] = {}
    handles: list[RemovableHandle] = []

    def note(lengths: dict[int, int | None], values: dict[int, Tensor], i: int) -> Any:
        def hook(_module: nn.Module, _args: Any, output: Any) -> None:
            lengths[i] = len(output) if isinstance(output, tuple) else None
            values[i] = output[0] if isinstance(output, tuple) else output

        return hook

    try:
        for i, layer in enumerate(sites.layers):
            handles.append(layer.register_forward_hook(note(layers, {}, i)))
        for site in sites:
            i = site.layer
            handles.append(site.attention.register_forward_hook(note(attentions, returned, i)))
            handles.append(site.projection.register_forward_hook(note({}, projected, i)))
        model(**batch.inputs, use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    projects = all(_same(returned[site.layer], projected[site.layer]) for site in sites)
    return Outputs(layers, attentions), projects


def _same(left: Tensor, right: Tensor) -> bool:
    return left.shape == right.shape and (left.is_meta or torch.equal(left, right))


def _agree(logprobs: Tensor, expected: Tensor, dtype: torch.dtype) -> bool:
    """Compare up to rounding, which must stay small beside the effect of the gates."""
    rounding = 50 * torch.finfo(dtype).eps * expected.abs().max()
    effect = (expected - expected[0]).abs().max() / 4
    return bool((logprobs - expected).abs().max() <= torch.minimum(rounding, effect))

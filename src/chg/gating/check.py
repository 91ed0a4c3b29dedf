"""Proof, on a few tokens, that gates on a model do what gates are said to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from chg.errors import ArchitectureError
from chg.gating.hooks import AttachedGates
from chg.models import (
    HeadSite,
    HeadSites,
    SharedModule,
    frozen,
    plain_torch,
    shared_projections,
    uncompiled,
)


@dataclass
class _Trace:
    """Record of one forward pass: logits, and the inputs and outputs of every projection.

    By layer, and there in the order of use.
    """

    logits: Tensor
    inputs: dict[int, list[Tensor]]
    outputs: dict[int, list[Tensor]]


@plain_torch()
def check_head_sites(model: nn.Module, sites: HeadSites) -> None:
    """Prove on a few tokens that gates at these sites multiply heads and nothing else.

    Gates of 1 leave the logits bit for bit as they were; every projection is used (more than once
    where a model runs its layers in turns); closing a head empties its own slice and nothing else
    there or below; closing all heads is felt.

    Raises:
        ArchitectureError: one of these does not hold; the message says which, and where.
    """
    shape, last = sites.shape, sites[-1]
    closed = torch.ones(shape)
    closed[last.layer, last.num_heads - 1] = 0
    with torch.no_grad(), frozen(model), uncompiled():
        plain = _trace(model, sites, None)
        _require_used(sites, plain)
        open_ = _trace(model, sites, torch.ones(shape))
        one_closed = _trace(model, sites, closed)
        all_closed = _trace(model, sites, torch.zeros(shape))
    if not _same(plain.logits, open_.logits):
        raise ArchitectureError("gates of 1 changed the logits: the hooks are not on plain heads")
    if not plain.logits.isfinite().all():
        return  # nothing can be compared with NaN; whatever runs next says that it met one
    _require_alone(sites, plain, one_closed)
    moved = any(
        not _same(plain.outputs[site.layer][0], all_closed.outputs[site.layer][0]) for site in sites
    )
    if moved and _same(plain.logits, all_closed.logits):
        raise ArchitectureError(f"closing every head changes no logit; {last.path} leads nowhere")


def _require_used(sites: HeadSites, plain: _Trace) -> None:
    for site in sites:
        if not plain.inputs[site.layer]:
            raise ArchitectureError(
                f"{site.path} is not used in a forward pass over text; it is not the attention "
                "output projection of its layer"
            )


def _require_alone(sites: HeadSites, plain: _Trace, one_closed: _Trace) -> None:
    """See that the last head of the last layer was emptied, and no other there or below."""
    last = sites[-1]
    if any(last.per_head(use)[..., -1, :].any() for use in one_closed.inputs[last.layer]):
        raise ArchitectureError(f"closing a head left its slice of {last.path} non-zero")
    for site in sites:
        # Only up to its first use has a projection met nothing that the closed head wrote.
        before, after = (
            site.per_head(trace.inputs[site.layer][0]).clone() for trace in (plain, one_closed)
        )
        if site is last:
            after[..., -1, :] = before[..., -1, :]
        if not _same(before, after):
            raise ArchitectureError(
                f"closing a head of {last.path} changed another, at {site.path}"
            )


def some_tokens(model: nn.Module, rows: int = 1) -> dict[str, Tensor]:
    """Rows of the same four tokens, as inputs of a model."""
    weight = model.get_input_embeddings().weight  # type: ignore[operator]
    tokens = (torch.arange(1, 5, device=weight.device) % weight.shape[0]).repeat(rows, 1)
    return {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}


def _same(left: Tensor, right: Tensor) -> bool:
    return torch.allclose(left, right, rtol=0, atol=0, equal_nan=True)


def _trace(model: nn.Module, sites: HeadSites, gates: Tensor | None) -> _Trace:
    """Run four tokens, with gates if given, and record what passed every projection."""
    inputs: dict[int, list[Tensor]] = {site.layer: [] for site in sites}
    outputs: dict[int, list[Tensor]] = {site.layer: [] for site in sites}
    handles: list[RemovableHandle] = []
    attached = None if gates is None else AttachedGates(model, sites, gates)
    try:
        for projection, turns in shared_projections(sites).items():

            def record(
                _m: nn.Module, args: Any, out: Tensor, turns: SharedModule[HeadSite] = turns
            ) -> None:
                layer = turns.next().layer
                inputs[layer].append(args[0])
                outputs[layer].append(out)

            handles.append(projection.register_forward_hook(record))
        try:
            result = model(**some_tokens(model), use_cache=False)
        except Exception as error:  # a model that needs more than text fails in ways of its own
            raise ArchitectureError(
                f"{type(model).__name__} failed on four tokens of text: {error}. If it needs more "
                "than text, use its text decoder, e.g. model.language_model"
            ) from error
        logits = result.logits if hasattr(result, "logits") else result.last_hidden_state
        return _Trace(logits, inputs, outputs)
    finally:
        for handle in handles:
            handle.remove()
        if attached is not None:
            attached.remove()

"""Proof, on a few tokens, that gates on MLP blocks multiply what these add to the residual stream.

A row of the batch per question, all in one pass: each layer's gate closed in one row, half open in
another, and the first row with every gate open. Up to its own layer a row is like the first.
"""

from __future__ import annotations

from contextlib import ExitStack, suppress
from typing import Any

import torch
from torch import Tensor, nn

from chg.errors import ArchitectureError
from chg.gating.check import some_tokens
from chg.gating.hooks import AttachedGates
from chg.models import HeadSites, first_output, frozen, plain_torch, uncompiled

HALF = 0.5
NAME_IT = 'name the right part with chg.register_architecture(..., mlp="..."), or use --unit head'


@plain_torch()
def check_mlp_sites(model: nn.Module, sites: HeadSites) -> None:
    """Prove on a few tokens that gates at these sites multiply what MLP blocks add.

    Gates of 1 leave the logits bit for bit as they were; every block is used; a closed one takes
    nothing of the residual stream with it; a half open one does something else than an open one,
    which it would not before a norm.

    Raises:
        ArchitectureError: one of these does not hold; the message says which, and where. Or no MLP
            blocks were found.
    """
    opened = torch.ones(sites.unit_shape("head_and_mlp"))
    paths = {mlp.layer: mlp.path for mlp in sites.mlps}
    with torch.no_grad(), frozen(model), uncompiled():
        plain, gated = (_logits(model, sites, gates) for gates in (None, opened))
        if not torch.allclose(plain, gated, rtol=0, atol=0, equal_nan=True):
            raise ArchitectureError("gates of 1 on MLPs changed the logits")
        trials = opened.repeat(1 + 2 * len(paths), 1, 1)
        for i, layer in enumerate(paths):
            trials[1 + 2 * i, layer, -1] = 0
            trials[2 + 2 * i, layer, -1] = HALF
        left = _leaving_layers(model, sites, trials)
    for i, (layer, path) in enumerate(paths.items()):
        if layer not in left:
            raise ArchitectureError(
                f"{path} is not used in a forward pass over text, and so no MLP block; {NAME_IT}"
            )
        stream = left[layer]
        if stream.isfinite().all():  # nothing can be compared with NaN
            _require_scaled(stream[0], stream[1 + 2 * i], stream[2 + 2 * i], path)


def _require_scaled(opened: Tensor, closed: Tensor, half: Tensor, path: str) -> None:
    """Compare what leaves a layer with its MLP open, closed and half open."""
    effect, of_half = ((opened - other).abs().max() for other in (closed, half))
    if not closed.any():
        raise ArchitectureError(
            f"closing {path} leaves nothing of the residual stream, which passes it; {NAME_IT}"
        )
    if of_half < effect / 10:
        raise ArchitectureError(
            f"half of what leaves {path} does what all of it does: a norm follows; {NAME_IT}"
        )


def _logits(model: nn.Module, sites: HeadSites, gates: Tensor | None) -> Tensor:
    """Run four tokens to the logits, under gates if given."""
    attached = None if gates is None else AttachedGates(model, sites, gates)
    try:
        result = model(**some_tokens(model), use_cache=False)
    finally:
        if attached is not None:
            attached.remove()
    logits: Tensor = result.logits if hasattr(result, "logits") else result.last_hidden_state
    return logits


def _by_row(value: Tensor, rows: int) -> Tensor:
    """Put rows first; Gemma 3n's layers hand on several streams, which come before them."""
    return value if value.shape[0] == rows else value.transpose(0, 1)


class _Over(Exception):
    """Leaves a forward pass whose last layer has been seen."""


def _leaving_layers(model: nn.Module, sites: HeadSites, gates: Tensor) -> dict[int, Tensor]:
    """Run four tokens under every gate matrix; what leaves each layer whose MLPs were used."""
    used: set[int] = set()
    left: dict[int, Tensor] = {}
    last = sites.mlps[-1].layer

    with ExitStack() as hooks:
        attached = AttachedGates(model, sites, gates)
        hooks.callback(attached.remove)
        for site in sites.mlps:

            def note_use(_m: nn.Module, _args: Any, _output: Any, layer: int = site.layer) -> None:
                used.add(layer)

            def note(_m: nn.Module, _args: Any, output: Any, layer: int = site.layer) -> None:
                if layer in used:
                    left.setdefault(layer, _by_row(first_output(output), len(gates)))
                if sites.layers and layer == last:
                    raise _Over

            hooks.callback(site.module.register_forward_hook(note_use).remove)
            hooks.callback(site.decoder_layer.register_forward_hook(note).remove)
        with suppress(_Over):
            model(**some_tokens(model, len(gates)), use_cache=False)
    return left

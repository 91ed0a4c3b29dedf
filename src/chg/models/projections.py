"""Projections that layers share, and the heads that enter a projection."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack, suppress
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from chg.models.heads import HeadSite, HeadSites


class SharedProjection:
    """Projection with the layers that it runs for: those of Zamba-2 share one, and take turns."""

    def __init__(self) -> None:
        self._sites: list[HeadSite] = []
        self._uses = 0

    def add(self, site: HeadSite) -> None:
        """Add a layer that uses the projection."""
        self._sites.append(site)

    @property
    def shared(self) -> bool:
        """True where several layers use the projection."""
        return len(self._sites) > 1

    def next(self) -> HeadSite:
        """Return the heads of the layer whose turn it is."""
        site = self._sites[self._uses % len(self._sites)]
        self._uses += 1
        return site

    def restart(self, *_: Any) -> None:
        """Start over before a forward pass of the model; one before may have failed half-way."""
        self._uses = 0


def shared_projections(sites: HeadSites) -> dict[nn.Module, SharedProjection]:
    """Map every projection to the layers that use it."""
    projections: dict[nn.Module, SharedProjection] = {}
    for site in sites:
        projections.setdefault(site.projection, SharedProjection()).add(site)
    return projections


@torch.no_grad()
def record_heads(
    model: nn.Module, sites: HeadSites, inputs: Mapping[str, Tensor]
) -> dict[int, list[Float[Tensor, "batch pos width"]]]:
    """Record the input of every projection in one plain pass, before gates of its own layer.

    By layer, and there in the order of use; most models use a projection once. Where that is known,
    the pass ends at the last projection, so that no logits are made.
    """
    entering: dict[int, list[Tensor]] = {site.layer: [] for site in sites}
    with ExitStack() as hooks:
        for projection, turns in shared_projections(sites).items():

            def record(
                _module: nn.Module, args: tuple[Any, ...], turns: SharedProjection = turns
            ) -> None:
                site = turns.next()
                width = site.num_heads * site.head_dim
                entering[site.layer].append(args[0].reshape(*inputs["input_ids"].shape, width))
                if sites.layers and site is sites[-1]:
                    raise _Over

            handle = projection.register_forward_pre_hook(record, prepend=True)
            hooks.callback(handle.remove)
        with suppress(_Over):
            model(**inputs, use_cache=False)
    return entering


class _Over(Exception):
    """Leaves a forward pass whose last heads have been seen."""

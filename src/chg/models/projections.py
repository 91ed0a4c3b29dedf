"""Modules that layers share, and what heads and MLPs hand on in a pass."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack, suppress
from typing import Any, Generic, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from chg.config import Unit
from chg.models.heads import HeadSite, HeadSites, SiteKey
from chg.models.mlps import MlpSite

Site = TypeVar("Site", HeadSite, MlpSite)


class SharedModule(Generic[Site]):
    """Module with the layers that it runs for: those of Zamba-2 share one, and take turns."""

    def __init__(self) -> None:
        self._sites: list[Site] = []
        self._uses = 0

    def add(self, site: Site) -> None:
        """Add a layer that uses the module."""
        self._sites.append(site)

    @property
    def shared(self) -> bool:
        """True where several layers use the module."""
        return len(self._sites) > 1

    def next(self) -> Site:
        """Return the heads or the MLP of the layer whose turn it is."""
        site = self._sites[self._uses % len(self._sites)]
        self._uses += 1
        return site

    def restart(self, *_: Any) -> None:
        """Start over before a forward pass of the model; one before may have failed half-way."""
        self._uses = 0


def shared_projections(sites: HeadSites) -> dict[nn.Module, SharedModule[HeadSite]]:
    """Map every projection to the layers that use it."""
    projections: dict[nn.Module, SharedModule[HeadSite]] = {}
    for site in sites:
        projections.setdefault(site.projection, SharedModule()).add(site)
    return projections


def shared_mlps(sites: HeadSites) -> dict[nn.Module, SharedModule[MlpSite]]:
    """Map every module that adds an MLP's output to the layers that use it."""
    mlps: dict[nn.Module, SharedModule[MlpSite]] = {}
    for site in sites.mlps:
        mlps.setdefault(site.module, SharedModule()).add(site)
    return mlps


def first_output(output: Any) -> Tensor:
    """Return the first element of several, or the bare tensor."""
    first: Tensor = output[0] if isinstance(output, tuple | list) else output
    return first


@torch.no_grad()
def record_heads(
    model: nn.Module, sites: HeadSites, inputs: Mapping[str, Tensor], unit: Unit = "head"
) -> dict[SiteKey, list[Float[Tensor, "batch pos width"]]]:
    """Record all that gates of a unit multiply, in one plain pass, before gates of its own layer.

    By place, and there in the order of use; most models use a place once. Where that is known, the
    pass ends when everything was seen, so that no logits are made.
    """
    found: dict[SiteKey, list[Tensor]] = {site.key: [] for site in sites.gated(unit)}
    missing = set(found)

    def record(key: SiteKey, value: Tensor) -> None:
        found[key].append(value.reshape(*inputs["input_ids"].shape, -1))
        missing.discard(key)
        if sites.layers and not missing:
            raise _Over

    with ExitStack() as hooks:
        for projection, heads in shared_projections(sites).items():

            def enters(
                _m: nn.Module, args: tuple[Any, ...], turns: SharedModule[HeadSite] = heads
            ) -> None:
                record(turns.next().key, args[0])

            hooks.callback(projection.register_forward_pre_hook(enters, prepend=True).remove)
        for module, mlps in shared_mlps(sites).items() if unit == "head_and_mlp" else ():

            def leaves(
                _m: nn.Module, _args: Any, output: Any, turns: SharedModule[MlpSite] = mlps
            ) -> None:
                record(turns.next().key, first_output(output))

            hooks.callback(module.register_forward_hook(leaves, prepend=True).remove)
        with suppress(_Over):
            model(**inputs, use_cache=False)
    return found


class _Over(Exception):
    """Leaves a forward pass in which everything has been seen."""

"""Recompute: MLPs that a backward pass computes again in place of keeping what they hold."""

from __future__ import annotations

from torch import nn

from chg.errors import ConfigError
from chg.models import HeadSites


def find_mlps(model: nn.Module, sites: HeadSites) -> set[nn.Module]:
    """Find the largest part of each layer that holds no attention of it.

    Raises:
        ConfigError: a layer has no such part.
    """
    mlps = set()
    for site in sites:
        parts = [
            part
            for part in sites.layers[site.layer].children()
            if all(module is not site.attention for module in part.modules())
        ]
        sizes = {part: sum(p.numel() for p in part.parameters()) for part in parts}
        largest = max(parts, key=lambda part: sizes[part], default=None)
        if largest is None or sizes[largest] * 2 < sum(sizes.values()):
            raise ConfigError(
                f"the layers of {type(model).__name__} hold no MLP of their own; use "
                "--recompute layer"
            )
        mlps.add(largest)
    return mlps

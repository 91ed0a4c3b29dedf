"""Color scale of ablation scores: one computation for the page, the pictures and the notebook."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

OUTLIER = 3.0
"""A score this many times the 98th percentile would leave all others white; the scale is cut."""
Ends = Literal["neither", "min", "max", "both"]


@dataclass(frozen=True)
class ColorScale:
    """Scale of signed scores, white at zero."""

    limit: float
    """Half its width."""
    lowest: float
    """Smallest score; it may lie beyond the scale."""
    highest: float
    """Largest score."""

    @property
    def cut(self) -> Ends:
        """Ends at which scores lie beyond the scale, as matplotlib names them."""
        ends: dict[tuple[bool, bool], Ends] = {
            (False, False): "neither",
            (True, False): "min",
            (False, True): "max",
            (True, True): "both",
        }
        return ends[self.lowest < -self.limit, self.highest > self.limit]


def color_scale(scores: ArrayLike) -> ColorScale:
    """Scale that the scores ask for; NaN is left out.

    The percentile is a head's own score, never one between two heads: among few heads the
    interpolated one is half made of the outlier itself.
    """
    values: Any = np.asarray(scores, dtype=np.float64).ravel()
    values = values[np.isfinite(values)]
    if not values.size:
        return ColorScale(1.0, 0.0, 0.0)
    sizes = np.abs(values)
    largest, usual = float(sizes.max()), float(np.percentile(sizes, 98, method="lower"))
    limit = usual * OUTLIER if 0 < usual * OUTLIER < largest else largest or 1.0
    return ColorScale(limit, float(values.min()), float(values.max()))

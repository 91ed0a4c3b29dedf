"""Picture of a comparison: a role map per run, side by side."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from chg.report.canvas import Target, canvas
from chg.report.drawing import draw_roles, label_heads, map_size
from chg.report.palette import INK, ROLE_COLORS
from chg.results import ComparisonResults

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

MOST_BESIDE = 4
"""Maps in a row at most."""


def plot_role_maps(
    comparison: ComparisonResults, ax: Target | None = None, title: str | None = None
) -> Figure:
    """Draw the role of every head in every run, with a frame around heads that differ."""
    count = len(comparison.runs)
    columns = min(count, MOST_BESIDE)
    grid = math.ceil(count / columns), columns
    width, height = map_size(comparison.shape)
    size = max(7.0, columns * (width - 1.6)), grid[0] * height + 0.6
    if ax is not None:
        grid = 1, count
    place = canvas(ax, grid, size, "plot_roles")
    framed = differing_map(comparison)
    for axes, run in zip(place.panels, comparison.runs, strict=False):
        label_heads(axes, comparison.shape, comparison.unit, most=11)
        draw_roles(axes, comparison.role_map(run.name))
        _frame(axes, framed)
        axes.set_title(run.name, fontsize=10, parse_math=False)
    for axes in place.panels[count:]:
        axes.set_visible(False)
    handles: list[Artist] = [Patch(color=color, label=name) for name, color in ROLE_COLORS.items()]
    if framed.any():
        handles.append(Patch(fill=False, edgecolor=INK, label="differs between runs"))
    place.legend(handles, columns=4, size=9)
    place.caption(title, "Role of each head")
    return place.root


def differing_map(comparison: ComparisonResults) -> NDArray[np.bool_]:
    """Heads that differ between any two of the runs, `[layer, head]`."""
    differing = comparison.heads[[pair.column("differs") for pair in comparison.pairs]].any(axis=1)
    matrix = np.zeros(comparison.shape, dtype=bool)
    matrix[comparison.heads["layer"], comparison.heads["head"]] = differing
    return matrix


def _frame(axes: Axes, where: NDArray[np.bool_]) -> None:
    for layer, head in np.argwhere(where):
        corner = head - 0.42, layer - 0.42
        axes.add_patch(Rectangle(corner, 0.84, 0.84, fill=False, edgecolor=INK, linewidth=1.3))

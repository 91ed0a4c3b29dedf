"""Parts that pictures share: grids of heads, tick labels, limits of a color scale, saving."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, ListedColormap
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Patch
from numpy.typing import NDArray

from chg.config import UNIT_NAMES, Unit
from chg.report.palette import IMPORTANT, IN_THE_WAY, ROLE_COLORS
from chg.results import ROLES

DPI = 200
OUTLIER = 3.0
"""A score this many times the 98th percentile would leave all others white; the scale is cut."""
MOST_WRITTEN = 6
"""Rows of a matrix up to which its numbers fit into its cells."""


def save(figure: Figure, path: Path) -> None:
    """Write a figure in the format of the path's ending."""
    figure.savefig(path, dpi=DPI, facecolor="white", bbox_inches="tight")


def head_grid(shape: tuple[int, int], unit: Unit) -> tuple[Figure, Axes]:
    """New axes with layers down and heads across, cells square and large enough to see."""
    layers, heads = shape
    cell = float(np.clip(9 / max(layers, heads), 0.16, 0.42))
    figure = Figure(figsize=(max(5.2, cell * heads + 2.8), max(3.6, cell * layers + 1.6)))
    figure.set_layout_engine("constrained")
    axes = figure.add_subplot()
    label_heads(axes, shape, unit)
    return figure, axes


def label_heads(axes: Axes, shape: tuple[int, int], unit: Unit, most: int = 17) -> None:
    """Name the axes of a map and put at most `most` tick labels on each."""
    layers, heads = shape
    axes.set_xticks(ticks(heads, most))
    axes.set_yticks(ticks(layers, most))
    axes.tick_params(labelsize=8)
    axes.set_xlabel(UNIT_NAMES[unit])
    axes.set_ylabel("layer")


def draw_roles(axes: Axes, roles: NDArray[np.str_]) -> list[Patch]:
    """Color every head by its role; returns the handles of a legend with counts."""
    names = list(ROLES)
    codes = np.select([roles == name for name in names], range(len(names)), default=np.nan)
    colors = ListedColormap([ROLE_COLORS[name] for name in names])
    axes.imshow(codes, cmap=colors, vmin=-0.5, vmax=len(names) - 0.5, interpolation="nearest")
    axes.set_xticks(np.arange(-0.5, roles.shape[1]), minor=True)
    axes.set_yticks(np.arange(-0.5, roles.shape[0]), minor=True)
    axes.grid(which="minor", color="white", linewidth=0.8)
    axes.tick_params(which="minor", length=0)
    return [
        Patch(color=ROLE_COLORS[name], label=f"{name} ({int((roles == name).sum())})")
        for name in names
    ]


def legend_below(figure: Figure, handles: Sequence[object], columns: int, size: int = 8) -> None:
    """Draw a legend under everything else, where it covers nothing."""
    figure.legend(
        handles=handles, fontsize=size, frameon=False, loc="outside lower center", ncols=columns
    )


def ticks(count: int, most: int = 17) -> list[int]:
    """Indices to label: all of few, every second, fourth, ... of many; labels keep apart."""
    step = next(step for step in (1, 2, 4, 8, 16, 32) if count / step <= most or step == 32)
    return list(range(0, count, step))


def color_limit(magnitudes: NDArray[np.float64]) -> tuple[float, str]:
    """Half the width of the color scale, and the ends at which values lie beyond it."""
    largest = float(magnitudes.max(initial=0.0))
    usual = float(np.percentile(magnitudes, 98)) if magnitudes.size else 0.0
    if 0 < usual * OUTLIER < largest:
        return usual * OUTLIER, "both"
    return largest or 1.0, "neither"


def plain(axes: Axes) -> None:
    """Leave of the frame only the two sides that carry numbers."""
    axes.spines[["top", "right"]].set_visible(False)


def panels_of(rows: int, columns: int, size: tuple[float, float]) -> tuple[Figure, list[Axes]]:
    """New axes in rows and columns, row by row; `size` of the figure in inches."""
    figure = Figure(figsize=size)
    figure.set_layout_engine("constrained")
    return figure, list(figure.subplots(rows, columns, squeeze=False).ravel())


def unit_map(figure: Figure, axes: Axes, matrix: NDArray[np.float64], color: str) -> None:
    """Draw a matrix of numbers in [0, 1], from pale to `color`; NaN stays white."""
    scale = LinearSegmentedColormap.from_list(color, ["#f1f3f6", color])
    image = axes.imshow(matrix, cmap=scale, vmin=0, vmax=1, interpolation="nearest")
    bar = figure.colorbar(image, ax=axes, orientation="horizontal", fraction=0.05, pad=0.02)
    bar.set_ticks([0, 0.5, 1])
    bar.ax.tick_params(labelsize=8)


def draw_scores(axes: Axes, scores: NDArray[np.float64]) -> tuple[AxesImage, str]:
    """Draw signed scores, white at zero; returns the image and the ends of its scale to extend."""
    limit, extend = color_limit(np.abs(scores[np.isfinite(scores)]))
    image = axes.imshow(scores, cmap="RdBu", vmin=-limit, vmax=limit, interpolation="nearest")
    return image, extend


def ablation_map(figure: Figure, axes: Axes, scores: NDArray[np.float64]) -> None:
    """Draw ablation scores as one panel of several."""
    image, extend = draw_scores(axes, scores)
    bar = figure.colorbar(
        image, ax=axes, orientation="horizontal", extend=extend, fraction=0.05, pad=0.02
    )
    bar.ax.locator_params(nbins=3)
    bar.ax.tick_params(labelsize=8)
    axes.set_title("Ablation (nats per token)", fontsize=10)


def stacked_bars(axes: Axes, places: NDArray[Any], shares: NDArray[np.float64]) -> None:
    """Draw a bar of role shares at each place; `shares` is `[role, bar]`."""
    bottom = np.zeros(len(places))
    for role, share in zip(ROLES, shares, strict=True):
        axes.bar(places, share, bottom=bottom, color=ROLE_COLORS[role], width=0.8)
        bottom += share


def layer_means(scores: NDArray[np.float64]) -> tuple[NDArray[np.float64], list[str]]:
    """Mean of every layer's scores, NaN for a layer without heads, and the color of its sign."""
    heads = np.isfinite(scores).sum(axis=1)
    means = np.where(heads > 0, np.nansum(scores, axis=1) / np.maximum(heads, 1), np.nan)
    return means, [IMPORTANT if mean < 0 else IN_THE_WAY for mean in means]


def write_numbers(axes: Axes, matrix: NDArray[np.float64]) -> None:
    """Write the numbers of a small matrix into its cells."""
    if len(matrix) > MOST_WRITTEN:
        return
    for (row, column), value in np.ndenumerate(matrix):
        if np.isfinite(value):
            ink = "white" if value > 0.65 else "black"
            axes.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=8, color=ink)

"""Parts that pictures share: maps of heads, tick labels, stacked bars, small matrices."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, ListedColormap
from matplotlib.image import AxesImage
from matplotlib.patches import Patch, Rectangle
from numpy.typing import NDArray

from chg.config import MLP, UNIT_NAMES, Unit
from chg.report.palette import (
    IMPORTANT,
    IN_THE_WAY,
    INK,
    LINE,
    LOW,
    MUTED,
    ROLE_COLORS,
    SURFACE,
)
from chg.report.scale import ColorScale, color_scale
from chg.results import ROLES

MOST_WRITTEN = 10
"""Rows of a matrix up to which its numbers fit into its cells."""


def map_size(shape: tuple[int, int]) -> tuple[float, float]:
    """Inches of a picture with layers down and heads across, cells square, large enough to see."""
    layers, heads = shape
    cell = float(np.clip(9 / max(layers, heads), 0.16, 0.42))
    return max(5.2, cell * heads + 2.8), max(3.6, cell * layers + 1.6)


def label_heads(axes: Axes, shape: tuple[int, int], unit: Unit, most: int = 17) -> None:
    """Name the axes of a map and put at most `most` tick labels on each."""
    layers, columns = shape
    if unit == "head_and_mlp":
        last = columns - 1
        heads = [head for head in ticks(last, most) if last - head > columns / 16]  # MLP is wide
        axes.set_xticks([*heads, last], [*map(str, heads), MLP])
    else:
        axes.set_xticks(ticks(columns, most))
    axes.set_yticks(ticks(layers, most))
    axes.tick_params(labelsize=8)
    axes.set_xlabel(UNIT_NAMES[unit][0])
    axes.set_ylabel("layer")


def draw_roles(axes: Axes, roles: NDArray[np.str_]) -> list[Patch]:
    """Color every head by its role; returns the handles of a legend with counts."""
    names = list(ROLES)
    codes = np.select([roles == name for name in names], range(len(names)), default=np.nan)
    colors = ListedColormap([ROLE_COLORS[name] for name in names])
    axes.imshow(codes, cmap=colors, vmin=-0.5, vmax=len(names) - 0.5, interpolation="nearest")
    axes.set_xticks(np.arange(-0.5, roles.shape[1]), minor=True)
    axes.set_yticks(np.arange(-0.5, roles.shape[0]), minor=True)
    axes.grid(which="minor", color=SURFACE, linewidth=0.8)
    axes.tick_params(which="minor", length=0)
    return [
        Patch(color=ROLE_COLORS[name], label=f"{name} ({int((roles == name).sum())})")
        for name in names
    ]


def ticks(count: int, most: int = 17) -> list[int]:
    """Indices to label: all of few, every second, fourth, ... of many; labels keep apart."""
    step = next(step for step in (1, 2, 4, 8, 16, 32) if count / step <= most or step == 32)
    return list(range(0, count, step))


def plain(axes: Axes) -> None:
    """Leave of the frame only the two sides that carry numbers."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["bottom", "left"]].set_color(MUTED)
    axes.tick_params(colors=MUTED, labelsize=9)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set(color=MUTED, size=9)
    axes.set_axisbelow(True)


def unit_map(axes: Axes, matrix: NDArray[np.float64], color: str) -> None:
    """Draw a matrix of numbers in [0, 1], from pale to `color`; NaN stays white."""
    scale = LinearSegmentedColormap.from_list(color, [LOW, color])
    image = axes.imshow(matrix, cmap=scale, vmin=0, vmax=1, interpolation="nearest")
    bar = axes.figure.colorbar(image, ax=axes, orientation="horizontal", fraction=0.05, pad=0.02)
    bar.set_ticks([0, 0.5, 1])
    bar.ax.tick_params(labelsize=8)


def draw_scores(axes: Axes, scores: NDArray[np.float64]) -> tuple[AxesImage, ColorScale]:
    """Draw signed scores, white at zero; returns the image and its scale."""
    scale = color_scale(scores)
    low, high = -scale.limit, scale.limit
    image = axes.imshow(scores, cmap="RdBu", vmin=low, vmax=high, interpolation="nearest")
    return image, scale


def ablation_map(axes: Axes, scores: NDArray[np.float64]) -> None:
    """Draw ablation scores as one panel of several."""
    image, scale = draw_scores(axes, scores)
    bar = axes.figure.colorbar(
        image, ax=axes, orientation="horizontal", extend=scale.cut, fraction=0.05, pad=0.02
    )
    bar.ax.locator_params(nbins=3)
    bar.ax.tick_params(labelsize=8)
    axes.set_title("Ablation (nats per token)", fontsize=10)


def stacked_bars(axes: Axes, places: NDArray[Any], counts: NDArray[np.int64]) -> None:
    """Draw a bar of role shares at each place; `counts` of heads is `[role, bar]`."""
    shares = counts / np.maximum(counts.sum(axis=0), 1)
    bottom = np.zeros(len(places))
    for role, share in zip(ROLES, shares, strict=True):
        axes.bar(places, share, bottom=bottom, color=ROLE_COLORS[role], width=0.84)
        bottom += share
    axes.set_ylabel("share of heads")


def layer_means(scores: NDArray[np.float64]) -> tuple[NDArray[np.float64], list[str]]:
    """Mean of every layer's scores, NaN for a layer without heads, and the color of its sign."""
    heads = np.isfinite(scores).sum(axis=1)
    means = np.where(heads > 0, np.nansum(scores, axis=1) / np.maximum(heads, 1), np.nan)
    return means, [IMPORTANT if mean < 0 else IN_THE_WAY for mean in means]


def pair_matrix(axes: Axes, matrix: NDArray[np.float64], names: list[str], color: str) -> None:
    """Draw a square of numbers in [0, 1], one per pair, with the numbers in the cells of a few."""
    size = len(matrix)
    axes.set(xlim=(-0.5, size - 0.5), ylim=(size - 0.5, -0.5), aspect="equal")
    axes.add_patch(Rectangle((-0.5, -0.5), size, size, color=LOW, linewidth=0))
    for (row, column), value in np.ndenumerate(matrix):
        if not np.isfinite(value):
            continue
        corner, strength = (column - 0.48, row - 0.48), float(np.clip(value, 0, 1))
        axes.add_patch(
            Rectangle(corner, 0.96, 0.96, color=color, alpha=strength, linewidth=0, clip_on=False)
        )
        if size <= MOST_WRITTEN:
            place: dict[str, Any] = {
                "ha": "center",
                "va": "center",
                "fontsize": 9 if size <= 5 else 6.5,
            }
            ink = SURFACE if value > 0.65 else INK
            axes.text(column, row, f"{value:.2f}", color=ink, **place)
    axes.set_xticks(ticks(size), [names[i] for i in ticks(size)])
    axes.set_yticks(ticks(size), [names[i] for i in ticks(size)])
    axes.set_xlabel("seed")
    plain(axes)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)


def horizontal_grid(axes: Axes) -> None:
    """Draw faint lines at the ticks of the upright axis."""
    axes.grid(axis="y", color=LINE)

"""Pictures for papers: labelled, colour-blind safe, readable from 12x12 to 32x32 heads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from chg.config import UNIT_NAMES
from chg.gates import CLOSED_BELOW, OPEN_ABOVE
from chg.taxonomy import ROLES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from chg.report.analysis import Analysis
    from chg.results import AblationResult

DPI = 200
IMPORTANT, NEUTRAL, IN_THE_WAY = "#b2182b", "#8c8c8c", "#2166ac"
"""The ends of matplotlib's RdBu: red for heads that matter, blue for heads in the way."""
ROLE_COLOURS = {
    "facilitating": "#0072B2",
    "irrelevant": "#D9D9D9",
    "interfering": "#D55E00",
    "undecided": "#F6EFA6",
}
"""Okabe and Ito's colours (undecided paler), told apart by all common kinds of colour vision."""
OUTLIER = 3.0
"""A score this many times the 98th percentile would leave all others white; the scale is cut."""


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG."""
    figure.savefig(path, dpi=DPI, format="png", facecolor="white", bbox_inches="tight")


def importance_heatmap(analysis: Analysis) -> Figure:
    """Score of every head, on a diverging scale centred on zero."""
    scores = analysis.result.scores
    limit, extend = _colour_limit(np.abs(scores[np.isfinite(scores)]))
    figure, axes = _head_grid(analysis.result)
    image = axes.imshow(scores, cmap="RdBu", vmin=-limit, vmax=limit, interpolation="nearest")
    bar = figure.colorbar(image, ax=axes, extend=extend, fraction=0.046, pad=0.03)
    bar.set_label(f"{analysis.score_label}\n\u2190 important    in the way \u2192", fontsize=9)
    axes.set_title(f"What ablating each head does\n{analysis.title}", fontsize=11)
    return figure


def layer_importance(analysis: Analysis) -> Figure:
    """Mean score of each layer's heads, with the heads themselves as points."""
    scores = analysis.result.scores
    layers = np.arange(scores.shape[0])
    heads = np.isfinite(scores).sum(axis=1)
    means = np.where(heads > 0, np.nansum(scores, axis=1) / np.maximum(heads, 1), np.nan)
    figure = Figure(figsize=(float(np.clip(2.5 + 0.3 * len(layers), 6, 14)), 4.2))
    figure.set_layout_engine("constrained")
    axes = figure.add_subplot()
    colours = [IMPORTANT if mean < 0 else IN_THE_WAY for mean in means]
    axes.bar(layers, means, color=colours, alpha=0.55, width=0.75, zorder=2)
    spread = np.linspace(-0.25, 0.25, scores.shape[1])
    positions = (layers[:, None] + spread[None, :]).ravel()
    axes.scatter(positions, scores.ravel(), s=9, color="#222222", alpha=0.7, linewidths=0, zorder=3)
    axes.axhline(0, color="black", linewidth=0.8, zorder=4)
    axes.set_xticks(_ticks(len(layers)))
    axes.set_xlabel("layer")
    axes.set_ylabel(analysis.score_label.replace(" (", "\n("))
    axes.grid(axis="y", color="#e5e5e5", zorder=0)
    handles = [
        Patch(color=IMPORTANT, alpha=0.55, label="layer mean, important"),
        Patch(color=IN_THE_WAY, alpha=0.55, label="layer mean, in the way"),
        Line2D([], [], marker="o", color="#222222", linewidth=0, markersize=3, label="one head"),
    ]
    figure.legend(handles=handles, fontsize=8, frameon=False, loc="outside lower center", ncols=3)
    axes.set_title(f"Importance by layer\n{analysis.title}", fontsize=11)
    _plain(axes)
    return figure


def gate_distribution(analysis: Analysis) -> Figure:
    """How many gates have which value, with the thresholds they are read by."""
    figure = Figure(figsize=(6.4, 4.2))
    figure.set_layout_engine("constrained")
    axes = figure.add_subplot()
    bins = np.linspace(0, 1, 26).tolist()
    shown = "gate file" if analysis.has_gate_file else "no gate file: all heads open"
    axes.hist(analysis.gates.ravel(), bins=bins, color="#9e9e9e", label=shown, zorder=2)
    for gates, label, colour, style in (
        (analysis.retention, "retention (G+)", ROLE_COLOURS["facilitating"], "-"),
        (analysis.removal, "removal (G-)", ROLE_COLOURS["interfering"], "--"),
    ):
        if gates is not None:
            axes.hist(
                gates.ravel(),
                bins=bins,
                histtype="step",
                linewidth=1.8,
                color=colour,
                linestyle=style,
                label=label,
                zorder=3,
            )
    for threshold in (CLOSED_BELOW, OPEN_ABOVE):
        axes.axvline(threshold, color="black", linewidth=0.8, linestyle=":", zorder=1)
    top = axes.get_ylim()[1]
    axes.set_ylim(0, top * 1.12)
    words = (
        (CLOSED_BELOW / 2, "closed"),
        (0.5, "context-dependent"),
        ((1 + OPEN_ABOVE) / 2, "open"),
    )
    for x, word in words:
        axes.text(x, top * 1.05, word, ha="center", va="center", fontsize=9, color="#444444")
    axes.set_xlim(0, 1)
    axes.set_xlabel("gate (0 closed, 1 open)")
    axes.set_ylabel(f"heads (of {len(analysis.rankings)})")
    figure.legend(fontsize=8, frameon=False, loc="outside lower center", ncols=3)
    axes.set_title(f"Distribution of gate values\n{analysis.title}", fontsize=11)
    _plain(axes)
    return figure


def role_map(analysis: Analysis) -> Figure:
    """The role of every head, from the retention and removal fits together."""
    assert analysis.taxonomy is not None
    roles = analysis.taxonomy.roles
    names = list(ROLES)
    codes = np.select([roles == name for name in names], range(len(names)), default=np.nan)
    figure, axes = _head_grid(analysis.result)
    colours = ListedColormap([ROLE_COLOURS[name] for name in names])
    axes.imshow(codes, cmap=colours, vmin=-0.5, vmax=len(names) - 0.5, interpolation="nearest")
    axes.set_xticks(np.arange(-0.5, roles.shape[1]), minor=True)
    axes.set_yticks(np.arange(-0.5, roles.shape[0]), minor=True)
    axes.grid(which="minor", color="white", linewidth=0.8)
    axes.tick_params(which="minor", length=0)
    handles = [
        Patch(color=ROLE_COLOURS[name], label=f"{name} ({int((roles == name).sum())})")
        for name in names
    ]
    figure.legend(handles=handles, fontsize=9, frameon=False, loc="outside lower center", ncols=2)
    axes.set_title(f"Role of each head\n{analysis.title}", fontsize=11)
    return figure


def _head_grid(result: AblationResult) -> tuple[Figure, Axes]:
    """Axes with layers down and heads across, cells square and large enough to see."""
    layers, heads = result.shape
    cell = float(np.clip(9 / max(layers, heads), 0.16, 0.42))
    figure = Figure(figsize=(max(5.2, cell * heads + 2.8), max(3.6, cell * layers + 1.6)))
    figure.set_layout_engine("constrained")
    axes = figure.add_subplot()
    axes.set_xticks(_ticks(heads))
    axes.set_yticks(_ticks(layers))
    axes.tick_params(labelsize=8)
    axes.set_xlabel(UNIT_NAMES[result.unit])
    axes.set_ylabel("layer")
    return figure, axes


def _ticks(count: int) -> list[int]:
    """All indices of few, every second or fourth of many, so that labels never touch."""
    step = next(step for step in (1, 2, 4, 8, 16, 32) if count / step <= 17 or step == 32)
    return list(range(0, count, step))


def _colour_limit(magnitudes: np.ndarray) -> tuple[float, str]:
    """Half the width of the colour scale, and whether values lie beyond it."""
    largest = float(magnitudes.max(initial=0.0))
    usual = float(np.percentile(magnitudes, 98)) if magnitudes.size else 0.0
    if 0 < usual * OUTLIER < largest:
        return usual * OUTLIER, "both"
    return largest or 1.0, "neither"


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)

"""Pictures of an analysis, for papers: labeled, color-blind safe, readable from 12x12 to 32x32."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from chg.config import CLOSED_BELOW, OPEN_ABOVE
from chg.report.canvas import Canvas, canvas
from chg.report.drawing import (
    draw_roles,
    draw_scores,
    horizontal_grid,
    label_heads,
    layer_means,
    map_size,
    plain,
    ticks,
)
from chg.report.palette import IMPORTANT, IN_THE_WAY, INK, MUTED, ROLE_COLORS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from chg.report.analysis import Analysis


def importance_heatmap(analysis: Analysis) -> Figure:
    """Draw the score of every head, on a diverging scale centered on zero."""
    scores = analysis.result.scores
    place = _head_map(analysis)
    (axes,) = place.panels
    image, scale = draw_scores(axes, scores)
    bar = place.root.colorbar(image, ax=axes, extend=scale.cut, fraction=0.046, pad=0.03)
    bar.set_label(f"{analysis.score_label}\n\u2190 important    in the way \u2192", fontsize=9)
    place.caption(None, f"What ablating each head does\n{analysis.title}")
    return place.root


def layer_importance(analysis: Analysis) -> Figure:
    """Draw the mean score of each layer's heads, with the heads themselves as points."""
    scores = analysis.result.scores
    layers = np.arange(scores.shape[0])
    means, colors = layer_means(scores)
    width = float(np.clip(2.5 + 0.3 * len(layers), 6, 14))
    place = canvas(None, (1, 1), (width, 4.2), "layer_importance")
    (axes,) = place.panels
    axes.bar(layers, means, color=colors, alpha=0.55, width=0.75, zorder=2)
    spread = np.linspace(-0.25, 0.25, scores.shape[1])
    positions = (layers[:, None] + spread[None, :]).ravel()
    axes.scatter(positions, scores.ravel(), s=9, color=INK, alpha=0.7, linewidths=0, zorder=3)
    axes.axhline(0, color=MUTED, linewidth=0.8, zorder=4)
    axes.set_xticks(ticks(len(layers)))
    axes.set_xlabel("layer")
    axes.set_ylabel(analysis.score_label.replace(" (", "\n("))
    horizontal_grid(axes)
    handles = [
        Patch(color=IMPORTANT, alpha=0.55, label="layer mean, important"),
        Patch(color=IN_THE_WAY, alpha=0.55, label="layer mean, in the way"),
        Line2D([], [], marker="o", color=INK, linewidth=0, markersize=3, label="one head"),
    ]
    place.legend(handles, columns=3)
    place.caption(None, f"Importance by layer\n{analysis.title}")
    plain(axes)
    return place.root


def gate_distribution(analysis: Analysis) -> Figure:
    """Draw a histogram of gate values, with the thresholds they are read by."""
    place = canvas(None, (1, 1), (6.4, 4.2), "gate_distribution")
    (axes,) = place.panels
    bins = np.linspace(0, 1, 26).tolist()
    shown = "gate file" if analysis.has_gate_file else "no gate file: all heads open"
    axes.hist(analysis.gates.ravel(), bins=bins, color="#9e9e9e", label=shown, zorder=2)
    for gates, label, color, style in (
        (analysis.retention, "retention (G+)", ROLE_COLORS["facilitating"], "-"),
        (analysis.removal, "removal (G-)", ROLE_COLORS["interfering"], "--"),
    ):
        if gates is not None:
            axes.hist(
                gates.ravel(),
                bins=bins,
                histtype="step",
                linewidth=1.8,
                color=color,
                linestyle=style,
                label=label,
                zorder=3,
            )
    _mark_thresholds(axes)
    axes.set_xlim(0, 1)
    axes.set_xlabel("gate (0 closed, 1 open)")
    axes.set_ylabel(f"heads (of {len(analysis.rankings)})")
    place.legend(axes.get_legend_handles_labels()[0], columns=3)
    place.caption(None, f"Distribution of gate values\n{analysis.title}")
    plain(axes)
    return place.root


def _mark_thresholds(axes: Axes) -> None:
    """Draw the thresholds of gates, and above them the names of the ranges between."""
    for threshold in (CLOSED_BELOW, OPEN_ABOVE):
        axes.axvline(threshold, color=MUTED, linewidth=0.8, linestyle=":", zorder=1)
    top = axes.get_ylim()[1]
    axes.set_ylim(0, top * 1.12)
    words = (
        (CLOSED_BELOW / 2, "closed"),
        (0.5, "context-dependent"),
        ((1 + OPEN_ABOVE) / 2, "open"),
    )
    for x, word in words:
        axes.text(x, top * 1.05, word, ha="center", va="center", fontsize=9, color=MUTED)


def role_map(analysis: Analysis) -> Figure:
    """Draw the role of every head, from the retention and removal fits together."""
    assert analysis.taxonomy is not None
    place = _head_map(analysis)
    place.legend(draw_roles(place.panels[0], analysis.taxonomy.roles), columns=2, size=9)
    place.caption(None, f"Role of each head\n{analysis.title}")
    return place.root


def _head_map(analysis: Analysis) -> Canvas:
    shape = analysis.result.shape
    place = canvas(None, (1, 1), map_size(shape), "map")
    label_heads(place.panels[0], shape, analysis.result.unit)
    return place

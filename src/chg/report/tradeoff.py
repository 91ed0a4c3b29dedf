"""Picture of the trade-off between retaining and forgetting, over the weight of forgetting."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import matplotlib
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from chg.report.canvas import Canvas, PaperFigure
from chg.report.drawing import plain
from chg.report.palette import LINE, MUTED

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from chg.results import ContrastFit, ContrastRun

PANEL = 4.2
"""Width of a panel, inches."""


def tradeoff(runs: Sequence[ContrastRun]) -> Figure:
    """Draw share retained against share forgotten: a column per direction, a row per kind of rows.

    A point is a start; the line runs through the best start of each alpha.
    """
    task = runs[0].held_out_task
    kinds = ["held-out rows", *([] if task is None else [f"task left out: {task}"])]
    figure = PaperFigure(
        figsize=(PANEL * len(runs) + 0.6, PANEL * len(kinds) + 0.7), layout="constrained"
    )
    panels = figure.subplots(len(kinds), len(runs), squeeze=False, sharex=True, sharey=True)
    for i, (row, kind) in enumerate(zip(panels, kinds, strict=True)):
        for axes, run in zip(row, runs, strict=True):
            _panel(axes, run, unseen=i == 1)
            direction = f"{'reversed' if run.reversed else 'as given'}, " if len(runs) > 1 else ""
            axes.set_title(f"{direction}{kind}", fontsize=10)
    for axes in panels[-1]:
        axes.set_xlabel("forgotten: share of target probability lost")
    for axes in panels[:, 0]:
        axes.set_ylabel("retained: share of target probability kept")
    Canvas(figure, list(panels.ravel()), whole=True).legend(_handles(runs[0].alphas), columns=4)
    return figure


def _panel(axes: Axes, run: ContrastRun, *, unseen: bool) -> None:
    colors = _colors(run.alphas)
    for fit in run.fits:
        axes.scatter(*_point(fit, unseen), s=26, color=colors[fit.alpha], alpha=0.75, zorder=3)
    points = [_point(fit, unseen) for fit in run.curve]
    axes.plot(*zip(*points, strict=True), color=MUTED, linewidth=1.2, zorder=2)
    for fit, point in zip(run.curve, points, strict=True):
        axes.scatter(
            *point, s=80, facecolors="none", edgecolors=colors[fit.alpha], linewidths=1.6, zorder=4
        )
    axes.set_xlim(-0.04, 1.04)
    axes.set_ylim(-0.04, 1.04)
    axes.set_aspect("equal")
    axes.grid(color=LINE)
    plain(axes)


def _point(fit: ContrastFit, unseen: bool) -> tuple[float, float]:
    retain, forget = fit.sides(unseen=unseen)
    return 1 - forget.kept, retain.kept


def _colors(alphas: Sequence[float]) -> dict[float, str]:
    """Colors from dark to light by alpha, told apart by all common kinds of color vision."""
    scale = matplotlib.colormaps["viridis"]
    return {
        alpha: to_hex(scale(0.9 * i / max(1, len(alphas) - 1))) for i, alpha in enumerate(alphas)
    }


def _handles(alphas: Sequence[float]) -> list[Line2D]:
    points = [
        Line2D([], [], marker="o", color=color, linewidth=0, label=f"alpha {alpha:g}")
        for alpha, color in _colors(alphas).items()
    ]
    line = Line2D([], [], marker="o", color=MUTED, fillstyle="none", label="best start of each")
    return [*points, line]

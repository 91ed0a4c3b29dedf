"""Charts of faithfulness: what the first heads of each ranking do alone, size after size."""

from __future__ import annotations

from functools import partial
from itertools import cycle
from typing import TYPE_CHECKING

from matplotlib.ticker import MaxNLocator, PercentFormatter

from chg.report.drawing import horizontal_grid, plain
from chg.report.palette import (
    ATTENTION_COLOR,
    GATE_COLOR,
    HELD_OUT_COLOR,
    IMPORTANT,
    INK,
    MUTED,
    SCORE_COLORS,
)
from chg.report.panels import Panel
from chg.results import BUDGETED, ENOUGH, FACILITATION, Faithfulness, FaithfulnessCurve

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

COLORS = {
    BUDGETED: GATE_COLOR,
    FACILITATION: SCORE_COLORS["facilitation"],
    "ablation": IMPORTANT,
    "estimate": HELD_OUT_COLOR,
    "random": MUTED,
}
OTHERS = (SCORE_COLORS["interference"], ATTENTION_COLOR, INK)
"""Colors of rankings with other names, in turn."""
LOWEST = -0.15
"""Lower end of the chart of `f`; the worst sets go far below."""


def faithfulness_panels(found: Faithfulness | None) -> list[Panel]:
    """Draw `f` and accuracy against the heads kept; none where `f` is not defined."""
    if found is None or not found.defined:
        return []
    colors = _colors(found)
    best = found.curves[0]
    reach = ", ".join(f"{curve.ranking} {found.size_reaching(curve)}" for curve in found.curves)
    ends = f"Heads for {ENOUGH:.0%}: {reach}."
    right = best.accuracy.mean(axis=0)
    return [
        Panel("Faithfulness", partial(_draw_f, found=found, colors=colors), ends),
        Panel(
            "Target tokens right",
            partial(_draw_accuracy, found=found, colors=colors),
            f"By {best.ranking}, from {right[0]:.0%} with no head to {right[-1]:.0%} with all.",
        ),
    ]


def _colors(found: Faithfulness) -> dict[str, str]:
    others = cycle(OTHERS)
    return {c.ranking: COLORS.get(c.ranking) or next(others) for c in found.curves}


def _draw_f(axes: Axes, found: Faithfulness, colors: dict[str, str]) -> None:
    for level, style in ((1, "-"), (ENOUGH, ":"), (0, "-")):
        axes.axhline(level, color=MUTED, linewidth=0.8, linestyle=style)
    for curve in found.curves:
        _line(axes, found, curve, curve.mean, colors)
        axes.fill_between(
            found.sizes, curve.low, curve.high, color=colors[curve.ranking], alpha=0.15, linewidth=0
        )
    highest = max(1.0, *(float(curve.mean.max()) for curve in found.curves))
    axes.set_ylim(LOWEST, highest + 0.08)
    axes.set_ylabel("f, of what all heads do")
    _finish(axes)
    axes.legend(fontsize=8, edgecolor="none", framealpha=0.85, labelcolor=INK, loc="lower right")


def _draw_accuracy(axes: Axes, found: Faithfulness, colors: dict[str, str]) -> None:
    for curve in found.curves:
        _line(axes, found, curve, curve.accuracy.mean(axis=0), colors)
    axes.set_ylim(-0.03, 1.03)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_ylabel("target tokens right")
    _finish(axes)


def _line(
    axes: Axes,
    found: Faithfulness,
    curve: FaithfulnessCurve,
    values: NDArray[np.float64],
    colors: dict[str, str],
) -> None:
    axes.plot(
        found.sizes,
        values,
        color=colors[curve.ranking],
        linewidth=1.7,
        marker="o",
        markersize=3,
        label=curve.ranking,
    )


def _finish(axes: Axes) -> None:
    axes.set_xlabel("heads kept, the others ablated")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    horizontal_grid(axes)
    plain(axes)

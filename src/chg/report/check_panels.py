"""Charts of the causal check: a curve per score, and the step at which it is judged."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from matplotlib.artist import Artist
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from chg.report.drawing import horizontal_grid, plain
from chg.report.palette import HELD_OUT_COLOR, INK, MUTED, SCORE_COLORS, SURFACE
from chg.report.panels import Panel
from chg.results import CausalCurve, StudyResults

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARKED_STEPS = 24
"""Steps of a causal curve up to which each is marked."""
JUDGED: dict[str, Any] = {"marker": "D", "markersize": 5.5, "markeredgecolor": SURFACE}
TOLERANCE_ALPHA = 0.2


def check_panels(study: StudyResults) -> list[Panel]:
    """The causal check's curves."""
    return [
        Panel(f"In order of {check.score}", partial(_draw_check, check=check), check.verdict)
        for check in study.checks
    ]


def expectation(check: CausalCurve) -> str:
    """Sign that a curve is expected to have, in words."""
    return "about zero" if check.expected == "zero" else check.expected


def judgment(check: CausalCurve) -> str:
    """Say in a few words whether a curve is as expected."""
    unsure = "too few rows to say" if check.in_role else "no such head"
    if check.in_role and check.expected == "zero" and check.tolerance is None:
        unsure = "nothing sets a tolerance"
    return {True: "holds", False: "does not hold", None: unsure}[check.holds]


def check_legend(checks: Sequence[CausalCurve]) -> list[Artist]:
    """Legend of the curves of the causal check."""
    gray = "#444444"
    handles: list[Artist] = [
        Line2D([], [], color=gray, marker="o", markersize=4, label="mean of the seeds"),
        Patch(color=gray, alpha=0.18, label="range of the seeds"),
        Line2D([], [], **JUDGED, color=gray, linestyle="", label="judged, 95 % interval"),
    ]
    if any(check.tolerance is not None for check in checks):
        handles.append(Patch(color=HELD_OUT_COLOR, alpha=TOLERANCE_ALPHA, label="counts as zero"))
    return handles


def _draw_check(axes: Axes, check: CausalCurve) -> None:
    color = SCORE_COLORS[check.score]
    low, high = check.difference.min(axis=0), check.difference.max(axis=0)
    if check.tolerance is not None:
        band: dict[str, Any] = {"color": HELD_OUT_COLOR, "alpha": TOLERANCE_ALPHA, "linewidth": 0}
        axes.axhspan(-check.tolerance, check.tolerance, **band)
    axes.axhline(0, color=MUTED, linewidth=0.8)
    axes.fill_between(check.counts, low, high, color=color, alpha=0.18, linewidth=0)
    middle = check.difference.mean(axis=0)
    marker = "o" if len(check.counts) <= MARKED_STEPS else None
    axes.plot(check.counts, middle, color=color, linewidth=1.9, marker=marker, markersize=3.5)
    _draw_judged(axes, check)
    axes.margins(x=0.06)
    axes.set_xlabel("heads toggled")
    axes.set_ylabel("closed minus open\n(nats per token)")
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    horizontal_grid(axes)
    plain(axes)


def _draw_judged(axes: Axes, check: CausalCurve) -> None:
    """Draw the step that is judged, where heads have the role, with its interval."""
    if check.judged_at is None or check.value is None or not check.in_role:
        return
    if check.low is not None and check.high is not None:
        axes.vlines(check.judged_at, check.low, check.high, color=INK, linewidth=1.6, zorder=4)
        for end in (check.low, check.high):
            axes.plot(check.judged_at, end, marker="_", color=INK, markersize=8, zorder=4)
    axes.plot(check.judged_at, check.value, **JUDGED, color=INK, zorder=5)

"""Charts of a study, each drawn by one function: figures put several together, the page each."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from chg.report.drawing import (
    horizontal_grid,
    layer_means,
    pair_matrix,
    plain,
    stacked_bars,
    ticks,
)
from chg.report.palette import (
    GATE_COLOR,
    HELD_OUT_COLOR,
    INK,
    LOSS_COLOR,
    MUTED,
    SCORE_COLORS,
)
from chg.results import ROLES, STAGE_NAMES, STAGES, Stage, StudyResults, in_family

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

MAX_POINTS = 160
"""Points of a curve at most; longer fits are averaged over equal spans of updates."""
FEW_POINTS = 8
"""Points up to which each is marked: a line through a single one shows nothing."""
CURVES = {
    "loss": ("loss (nats)", LOSS_COLOR),
    "open": ("open gates", GATE_COLOR),
    "held_out_nll": ("held-out NLL", HELD_OUT_COLOR),
}
"""Column of the metrics -> its words and color."""


@dataclass(frozen=True)
class Panel:
    """One chart."""

    title: str
    draw: Callable[[Axes], None]
    """Draws into axes, all but the title."""
    words: str
    """Description for those who cannot see it."""


def layer_panels(study: StudyResults) -> list[Panel]:
    """Roles by layer, and the mean ablation score of each layer."""
    roles = study.matrix("role", missing="")
    helping = in_family(roles, "facilitation").sum(axis=1)
    most = [layer for layer in np.argsort(-helping, kind="stable")[:3] if helping[layer]]
    where = ", ".join(f"{layer} ({helping[layer]} heads)" for layer in most) or "none"
    panels = [
        Panel(
            "Roles of each layer's heads",
            partial(_draw_layers, roles=roles),
            f"Layers with most heads that facilitate: {where}.",
        )
    ]
    if "ablation_score" in study.heads:
        scores = study.matrix("ablation_score")
        means, _ = layer_means(scores)
        lowest, highest = int(np.nanargmin(means)), int(np.nanargmax(means))
        words = (
            f"Lowest in layer {lowest} ({means[lowest]:+.4f}), highest in layer {highest} "
            f"({means[highest]:+.4f})."
        )
        title = "Mean ablation score"
        panels.append(Panel(title, partial(_draw_layer_means, scores=scores), words))
    return panels


def _draw_layers(axes: Axes, roles: NDArray[Any]) -> None:
    counts = np.stack([(roles == name).sum(axis=1) for name in ROLES])
    stacked_bars(axes, np.arange(len(roles)), counts)
    _number_layers(axes, len(roles))


def _draw_layer_means(axes: Axes, scores: NDArray[np.float64]) -> None:
    means, colors = layer_means(scores)
    axes.bar(np.arange(len(means)), means, color=colors, width=0.84)
    axes.axhline(0, color=MUTED, linewidth=0.8)
    axes.set_ylabel("nats per token")
    horizontal_grid(axes)
    _number_layers(axes, len(means))


def _number_layers(axes: Axes, count: int) -> None:
    axes.set_xticks(ticks(count))
    axes.set_xlim(-0.6, count - 0.4)
    axes.set_xlabel("layer")
    plain(axes)


def curve_panels(study: StudyResults) -> list[Panel]:
    """Loss, open gates and held-out NLL over the updates: a row each, a column per stage."""
    known = [name for name in CURVES if name in study.metrics and study.metrics[name].notna().any()]
    return [_curve_panel(study, name, stage) for name in known for stage in STAGES]


def _curve_panel(study: StudyResults, name: str, stage: Stage) -> Panel:
    rows = study.metrics_of(stage)
    last = int(rows["step"].max())
    rows = rows.dropna(subset=name)
    span = max(1, math.ceil(rows["step"].nunique() / MAX_POINTS))
    wide = _by_seed(rows, name, span)
    middle = wide.mean(axis=1)
    words = "It was never measured."
    if len(middle):
        first = f"{middle.iloc[0]:.3g} at update {middle.index[0]}"
        end = f"{middle.iloc[-1]:.3g} at update {middle.index[-1]}"
        words = f"Mean over the seeds: {first}" + (f", {end}." if len(middle) > 1 else " alone.")
    title = f"{STAGE_NAMES[stage].title}: {CURVES[name][0]}"
    return Panel(title, partial(_draw_curve, wide=wide, name=name, last=last, span=span), words)


def _by_seed(rows: pd.DataFrame, name: str, span: int) -> pd.DataFrame:
    """Means over spans of updates, one column per seed; the index is the last update of each."""
    # Updates of a span may carry uneven numbers: its last one is where the point is drawn.
    last = rows.groupby((rows["step"] - 1) // span)["step"].transform("max")
    return rows.groupby([last, rows["seed"]])[name].mean().unstack("seed")


def _draw_curve(axes: Axes, wide: pd.DataFrame, name: str, last: int, span: int) -> None:
    words, color = CURVES[name]
    marker = "o" if len(wide) <= FEW_POINTS else None
    axes.plot(wide.index, wide, color=color, alpha=0.32, linewidth=0.8, marker=marker, markersize=4)
    middle = wide.mean(axis=1)
    axes.plot(wide.index, middle, color=color, linewidth=1.9, marker=marker, markersize=5)
    # The stage's updates, also where something was measured at one of them alone.
    axes.set_xlim(0, 1.03 * last)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.set_xlabel("update" if span == 1 else f"update (points are means of {span})")
    axes.set_ylabel(words)
    horizontal_grid(axes)
    plain(axes)


def agreement_panels(study: StudyResults) -> list[Panel]:
    """Rank correlation of the scores and overlap of facilitating heads, seed by seed."""
    agreement = study.agreement
    matrices = [
        (f"{name.capitalize()}, rank correlation", matrix, SCORE_COLORS[name])
        for name, matrix in agreement.spearman.items()
    ]
    matrices.append(("Facilitating heads, overlap (Jaccard)", agreement.jaccard, GATE_COLOR))
    names = [str(seed) for seed in study.seeds]
    return [
        Panel(title, partial(_draw_pairs, matrix=matrix, names=names, color=color), _pairs(matrix))
        for title, matrix, color in matrices
    ]


NO_SPREAD = (
    "Not defined: in every\nseed all heads score\nthe same, and there\nis no order to compare."
)


def between_seeds(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Numbers of a matrix of seeds that compare two of them and are defined."""
    pairs = matrix[np.triu_indices(len(matrix), 1)]
    return pairs[np.isfinite(pairs)]


def spread(pairs: NDArray[np.float64]) -> str:
    """Mean and lowest of numbers, in words."""
    return f"{pairs.mean():.2f} on average, {pairs.min():.2f} at the lowest"


def _pairs(matrix: NDArray[np.float64]) -> str:
    pairs = between_seeds(matrix)
    if not len(pairs):
        return NO_SPREAD.replace("\n", " ")
    return f"Between two seeds {spread(pairs)}."


def _draw_pairs(axes: Axes, matrix: NDArray[np.float64], names: list[str], color: str) -> None:
    if len(between_seeds(matrix)):
        return pair_matrix(axes, matrix, names, color)
    axes.set_axis_off()
    place: dict[str, Any] = {"ha": "center", "va": "center", "transform": axes.transAxes}
    axes.text(0.5, 0.5, NO_SPREAD, color=MUTED, fontsize=9, **place)
    return None


def path_panels(study: StudyResults) -> list[Panel]:
    """Roles and mean scores under several strengths of regularization; none of one strength."""
    path = study.path
    if path is None:
        return []
    exists = path.roles[0] != ""
    same = int(((path.roles == path.roles[0]).all(axis=0) & exists).sum())
    kept = f"{same} of {int(exists.sum())} heads keep their role at every strength."
    names = [f"{strength:g}" for strength in path.lambdas]
    means = {name: np.nanmean(values, axis=(1, 2)) for name, values in path.scores.items()}
    lines = (f"{name} {line[0]:.2f} to {line[-1]:.2f}" for name, line in means.items())
    ends = f"From the weakest to the strongest: {', '.join(lines)}."
    return [
        Panel("Roles", partial(_draw_path_roles, roles=path.roles, names=names), kept),
        Panel("Scores, mean over heads", partial(_draw_path, means=means, names=names), ends),
    ]


def _draw_path_roles(axes: Axes, roles: NDArray[Any], names: list[str]) -> None:
    counts = np.stack([(roles == name).sum(axis=(1, 2)) for name in ROLES])
    stacked_bars(axes, np.arange(len(names)), counts)
    _number_strengths(axes, names)


def _draw_path(axes: Axes, means: dict[str, NDArray[np.float64]], names: list[str]) -> None:
    for score, line in means.items():
        axes.plot(range(len(names)), line, "o-", color=SCORE_COLORS[score], label=score)
    axes.set_ylim(0, 1)
    axes.set_ylabel("score, mean over heads")
    axes.legend(fontsize=8, frameon=False, labelcolor=INK)
    _number_strengths(axes, names)


def _number_strengths(axes: Axes, names: list[str]) -> None:
    axes.set_xticks(range(len(names)), names)
    axes.set_xlabel("|lambda|")
    plain(axes)

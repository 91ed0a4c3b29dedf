"""Pictures of a study, for papers; the page draws the same from the same numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Polygon
from matplotlib.ticker import MaxNLocator

from chg.errors import ResultsError
from chg.report.drawing import (
    ablation_map,
    draw_roles,
    head_grid,
    label_heads,
    layer_means,
    legend_below,
    panels_of,
    plain,
    stacked_bars,
    ticks,
    unit_map,
    write_numbers,
)
from chg.report.palette import ROLE_COLORS, SCORE_COLORS
from chg.results import ROLES, STAGE_NAMES, STAGES, StudyResults

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray


GATE_COLOR = "#44337a"
LONGEST_TITLE = 80
"""Characters of a study's title that fit over a picture."""


def plot_roles(study: StudyResults) -> Figure:
    """Draw the role of every head; a cut corner shows the role that other seeds give it."""
    roles = _role_matrix(study)
    figure, axes = head_grid(_shape(study), study.unit)
    handles: list[Artist] = [*draw_roles(axes, roles)]
    if _cut_corners(axes, study, roles):
        corner = Line2D(
            [], [], marker=(3, 0, -45), color="#555555", linewidth=0, label="seeds disagree"
        )
        handles.append(corner)
    legend_below(figure, handles, columns=3, size=9)
    axes.set_title(f"Role of each head\n{_title(study)}", fontsize=11)
    return figure


def plot_scores(study: StudyResults) -> Figure:
    """Draw the three scores of every head, mean over seeds, and the score of ablating it."""
    matrices = {name.capitalize(): study.matrix(f"{name}_mean") for name in SCORE_COLORS}
    colors = list(SCORE_COLORS.values())
    figure, panels = _maps(study, 4 if "ablation_score" in study.heads else 3)
    for axes, (name, matrix), color in zip(panels, matrices.items(), colors, strict=False):
        unit_map(figure, axes, matrix, color)
        axes.set_title(name, fontsize=10)
    if len(panels) == 4:
        ablation_map(figure, panels[3], study.matrix("ablation_score"))
    figure.suptitle(f"Scores of each head, mean over {_seeds(study)}\n{_title(study)}", fontsize=11)
    return figure


def plot_gates(study: StudyResults) -> Figure:
    """Draw the gates of the three fits, mean over seeds."""
    figure, panels = _maps(study, 3)
    for axes, stage in zip(panels, STAGES, strict=True):
        unit_map(figure, axes, study.gates(stage).mean(axis=0), GATE_COLOR)
        axes.set_title(STAGE_NAMES[stage].title, fontsize=10)
    figure.suptitle(f"Gates, mean over {_seeds(study)}\n{_title(study)}", fontsize=11)
    return figure


def plot_layers(study: StudyResults) -> Figure:
    """Draw the share of each role per layer, and the mean ablation score."""
    roles = _role_matrix(study)
    layers = np.arange(len(roles))
    has_scores = "ablation_score" in study.heads
    width = float(np.clip(2.5 + 0.3 * len(layers), 6, 14))
    figure, panels = panels_of(2 if has_scores else 1, 1, (width, 5.2 if has_scores else 3.4))
    top = panels[0]
    counts = np.stack([(roles == name).sum(axis=1) for name in ROLES])
    shares = counts / np.maximum(counts.sum(axis=0), 1)
    stacked_bars(top, layers, shares)
    top.set_ylabel("share of heads")
    handles = [Patch(color=color, label=name) for name, color in ROLE_COLORS.items()]
    if has_scores:
        means, colors = layer_means(study.matrix("ablation_score"))
        panels[1].bar(layers, means, color=colors, width=0.8)
        panels[1].axhline(0, color="black", linewidth=0.8)
        panels[1].set_ylabel("mean ablation score\n(nats per token)")
    for axes in panels:
        axes.set_xticks(ticks(len(layers)))
        plain(axes)
    panels[-1].set_xlabel("layer")
    legend_below(figure, handles, columns=4)
    figure.suptitle(f"Roles by layer\n{_title(study)}", fontsize=11)
    return figure


def plot_curves(study: StudyResults) -> Figure:
    """Draw loss, open gates and held-out NLL of every fit: seeds thin, their mean thick."""
    names = {"loss": "loss (nats)", "open": "open gates", "held_out_nll": "held-out NLL"}
    known = [name for name in names if name in study.metrics and study.metrics[name].notna().any()]
    names = {name: names[name] for name in known}
    figure, panels = panels_of(len(names), 3, (10, 1 + 2.1 * len(names)))
    colors = {"loss": "#0b5c94", "open": GATE_COLOR, "held_out_nll": "#1d7a4c"}
    for axes, (name, stage) in zip(panels, ((n, s) for n in names for s in STAGES), strict=True):
        rows = study.metrics_of(stage).dropna(subset=name)
        wide = rows.pivot_table(index="step", columns="seed", values=name)
        axes.plot(wide.index, wide, color=colors[name], alpha=0.3, linewidth=0.7)
        axes.plot(wide.index, wide.mean(axis=1), color=colors[name], linewidth=1.8)
        if name == next(iter(names)):
            axes.set_title(STAGE_NAMES[stage].title, fontsize=10)
        if stage == STAGES[0]:
            axes.set_ylabel(names[name])
        if name == list(names)[-1]:
            axes.set_xlabel("update")
        axes.grid(axis="y", color="#e5e5e5")
        plain(axes)
    figure.suptitle(f"Fits, {_seeds(study)} and their mean\n{_title(study)}", fontsize=11)
    return figure


def plot_checks(study: StudyResults) -> Figure:
    """Draw the causal check: the effect of toggling heads in the order of each score.

    Raises:
        ResultsError: the study has no causal check.
    """
    if not study.checks:
        raise ResultsError("this study has no causal check to draw")
    figure, panels = panels_of(1, len(study.checks), (3.5 * len(study.checks), 3.9))
    for axes, check in zip(panels, study.checks, strict=True):
        color = SCORE_COLORS.get(check.score, GATE_COLOR)
        low, high = check.difference.min(axis=0), check.difference.max(axis=0)
        axes.fill_between(check.counts, low, high, color=color, alpha=0.18, linewidth=0)
        axes.plot(check.counts, check.difference.mean(axis=0), color=color, linewidth=1.9)
        axes.axhline(0, color="black", linewidth=0.8)
        if check.in_role <= check.counts.max():
            axes.axvline(check.in_role, color="#444444", linewidth=0.9, linestyle="--")
        verdict = {True: "holds", False: "does not hold", None: "no such head"}[check.holds]
        axes.set_title(
            f"in order of {check.score}\nexpected {check.expected}: {verdict}", fontsize=10
        )
        axes.set_xlabel("heads toggled")
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        plain(axes)
    panels[0].set_ylabel("log-probability, closed minus open\n(nats per token)")
    handles = [
        Line2D([], [], color="#444444", label="mean of the seeds"),
        Patch(color="#444444", alpha=0.18, label="range of the seeds"),
        Line2D([], [], color="#444444", linestyle="--", label="last head of the role"),
    ]
    legend_below(figure, handles, columns=3)
    figure.suptitle(f"Causal check\n{_title(study)}", fontsize=11)
    return figure


def plot_agreement(study: StudyResults) -> Figure:
    """Draw rank correlation of the scores and overlap of facilitating heads, seed by seed."""
    agreement = study.agreement
    matrices = [
        *(
            (f"{name}\nSpearman", matrix, SCORE_COLORS[name])
            for name, matrix in agreement.spearman.items()
        ),
        ("facilitating heads\nJaccard", agreement.jaccard, GATE_COLOR),
    ]
    figure, panels = panels_of(1, len(matrices), (2.9 * len(matrices), 3.9))
    places = range(len(study.seeds))
    for axes, (title, matrix, color) in zip(panels, matrices, strict=True):
        unit_map(figure, axes, matrix, color)
        axes.set_title(title, fontsize=10)
        axes.set_xticks(places, [str(seed) for seed in study.seeds], fontsize=8)
        axes.set_yticks(places, [str(seed) for seed in study.seeds], fontsize=8)
        axes.set_xlabel("seed")
        write_numbers(axes, matrix)
    figure.suptitle(f"Agreement of the seeds\n{_title(study)}", fontsize=11)
    return figure


def plot_path(study: StudyResults) -> Figure:
    """Draw roles under several strengths of regularization.

    Raises:
        ResultsError: the study was run at one strength.
    """
    if study.path is None:
        raise ResultsError("this study was run at one strength of regularisation; there is no path")
    names = [f"{strength:g}" for strength in study.path.lambdas]
    counts = np.stack([(study.path.roles == name).sum(axis=(1, 2)) for name in ROLES])
    figure, (left, right) = panels_of(1, 2, (9, 3.9))
    stacked_bars(left, np.arange(len(names)), counts / np.maximum(counts.sum(axis=0), 1))
    left.set_xticks(range(len(names)), names)
    left.set_ylabel("share of heads")
    for score, values in study.path.scores.items():
        middle = np.nanmean(values, axis=(1, 2))
        right.plot(range(len(names)), middle, "o-", color=SCORE_COLORS[score], label=score)
    right.set_xticks(range(len(names)), names)
    right.set_ylim(0, 1)
    right.set_ylabel("score, mean over heads")
    handles = [Patch(color=color, label=name) for name, color in ROLE_COLORS.items()]
    for axes in (left, right):
        axes.set_xlabel("|lambda|")
        plain(axes)
    right.legend(fontsize=8, frameon=False)
    legend_below(figure, handles, columns=4)
    figure.suptitle(f"Strength of the regularisation\n{_title(study)}", fontsize=11)
    return figure


FIGURES = {
    "roles": plot_roles,
    "scores": plot_scores,
    "gates": plot_gates,
    "layers": plot_layers,
    "curves": plot_curves,
    "checks": plot_checks,
    "agreement": plot_agreement,
    "path": plot_path,
}
"""file name -> its picture"""


def _role_matrix(study: StudyResults) -> NDArray[Any]:
    return study.matrix("role", missing="")


def _shape(study: StudyResults) -> tuple[int, int]:
    _, layers, heads = study.roles.shape
    return int(layers), int(heads)


def _title(study: StudyResults) -> str:
    title = str(study.manifest.get("title", ""))
    return title if len(title) <= LONGEST_TITLE else f"{title[: LONGEST_TITLE - 3]}..."


def _seeds(study: StudyResults) -> str:
    return f"{len(study.seeds)} seeds" if len(study.seeds) > 1 else "one seed"


def _maps(study: StudyResults, count: int) -> tuple[Figure, Sequence[Axes]]:
    """New axes for maps beside each other, four of them two by two."""
    layers, heads = _shape(study)
    rows, columns = (2, 2) if count == 4 else (1, count)
    cell = float(np.clip(3.8 / max(layers, heads), 0.055, 0.3))
    panel = max(1.6, cell * heads) + 0.8, max(1.3, cell * layers) + 0.9
    figure, panels = panels_of(rows, columns, (columns * panel[0], rows * panel[1] + 0.7))
    # Titles of the lower row keep clear of the color bars above them.
    figure.set_layout_engine("constrained", h_pad=0.12)
    for index, axes in enumerate(panels):
        label_heads(axes, (layers, heads), study.unit, most=11)
        if index % columns:
            axes.set_ylabel("")
    return figure, panels


def _cut_corners(axes: Axes, study: StudyResults, roles: NDArray[Any]) -> int:
    """Mark heads whose seeds disagree by their next most frequent role; returns the count."""
    votes = np.stack([(study.roles == name).sum(axis=0) for name in ROLES]).astype(float)
    for index, name in enumerate(ROLES):
        votes[index][roles == name] = -1
    disputed = np.argwhere((votes.max(axis=0) > 0) & (roles != ""))
    for layer, head in disputed:
        other = list(ROLES)[int(votes[:, layer, head].argmax())]
        right, top = head + 0.46, layer - 0.46
        corner = [(right - 0.42, top), (right, top), (right, top + 0.42)]
        axes.add_patch(
            Polygon(corner, facecolor=ROLE_COLORS[other], edgecolor="white", linewidth=0.4)
        )
    return len(disputed)

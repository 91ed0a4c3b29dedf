"""Pictures of a study, for papers; the page shows the same charts one by one (`panels.py`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Polygon

from chg.errors import ResultsError
from chg.report.canvas import Canvas, Target, canvas
from chg.report.check_panels import check_legend, check_panels, expectation, judgment
from chg.report.drawing import ablation_map, draw_roles, label_heads, map_size, unit_map
from chg.report.faithfulness_panels import faithfulness_panels
from chg.report.palette import GATE_COLOR, MUTED, ROLE_COLORS, SCORE_COLORS
from chg.report.panels import (
    Panel,
    agreement_panels,
    curve_panels,
    layer_panels,
    path_panels,
)
from chg.results import ROLES, STAGE_NAMES, STAGES, StudyResults

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray


LONGEST_TITLE = 80
"""Characters of a study's title that fit over a picture."""


def plot_roles(study: StudyResults, ax: Target | None = None, title: str | None = None) -> Figure:
    """Draw the role of every head; a cut corner shows the role that other seeds give it."""
    roles = study.matrix("role", missing="")
    place = canvas(ax, (1, 1), map_size(_shape(study)), "plot_roles")
    (axes,) = place.panels
    label_heads(axes, _shape(study), study.unit)
    handles: list[Artist] = [*draw_roles(axes, roles)]
    if _cut_corners(axes, study, roles):
        corner = Line2D(
            [], [], marker=(3, 0, -45), color=MUTED, linewidth=0, label="another role in some seeds"
        )
        handles.append(corner)
    place.legend(handles, columns=3, size=9)
    return _finish(place, title, study, "Role of each head")


def plot_scores(study: StudyResults, ax: Target | None = None, title: str | None = None) -> Figure:
    """Draw the three scores of every head, mean over seeds, and the score of ablating it."""
    has_scores = "ablation_score" in study.heads
    place = _maps(study, ax, (2, 2) if has_scores else (1, 3), "plot_scores")
    for axes, (name, color) in zip(place.panels, SCORE_COLORS.items(), strict=False):
        unit_map(axes, study.matrix(f"{name}_mean"), color)
        axes.set_title(name.capitalize(), fontsize=10)
    if has_scores:
        ablation_map(place.panels[3], study.matrix("ablation_score"))
    return _finish(place, title, study, f"Scores of each head, mean over {_seeds(study)}")


def plot_gates(study: StudyResults, ax: Target | None = None, title: str | None = None) -> Figure:
    """Draw the gates of the three fits, mean over seeds."""
    place = _maps(study, ax, (1, 3), "plot_gates")
    for axes, stage in zip(place.panels, STAGES, strict=True):
        unit_map(axes, study.gates(stage).mean(axis=0), GATE_COLOR)
        axes.set_title(STAGE_NAMES[stage].title, fontsize=10)
    return _finish(place, title, study, f"Gates, mean over {_seeds(study)}")


def plot_layers(study: StudyResults, ax: Target | None = None, title: str | None = None) -> Figure:
    """Draw the share of each role per layer, and the mean ablation score."""
    panels = layer_panels(study)
    width = float(np.clip(2.5 + 0.3 * len(study.roles[0]), 6, 14))
    size = width, 1 + 2.4 * len(panels)
    place = _charts(panels, canvas(ax, (len(panels), 1), size, "plot_layers"))
    place.legend(_role_patches(), columns=3)
    return _finish(place, title, study, "Roles by layer")


def plot_curves(study: StudyResults, ax: Target | None = None, title: str | None = None) -> Figure:
    """Draw loss, open gates and held-out NLL of every fit: seeds thin, their mean thick."""
    panels = curve_panels(study)
    grid = len(panels) // len(STAGES), len(STAGES)
    place = _charts(panels, canvas(ax, grid, (10, 1 + 2.1 * grid[0]), "plot_curves"))
    return _finish(place, title, study, f"Fits, {_seeds(study)} and their mean")


def plot_checks(study: StudyResults, ax: Target | None = None, title: str | None = None) -> Figure:
    """Draw the causal check: difference between heads closed and open, head after head.

    Raises:
        ResultsError: the study has no causal check.
    """
    panels = check_panels(study)
    if not panels:
        raise ResultsError("this study has no causal check; run it with --check_seeds 1 or more")
    place = _charts(panels, canvas(ax, (1, len(panels)), (3.4 * len(panels), 4), "plot_checks"))
    for axes, panel, check in zip(place.panels, panels, study.checks, strict=True):
        heading = f"{panel.title.lower()}\nexpected {expectation(check)}: {judgment(check)}"
        axes.set_title(heading, fontsize=10)
    place.legend(check_legend(study.checks), columns=3)
    return _finish(place, title, study, "Causal check")


def plot_agreement(
    study: StudyResults, ax: Target | None = None, title: str | None = None
) -> Figure:
    """Draw rank correlation of the scores and overlap of facilitating heads, seed by seed."""
    panels = agreement_panels(study)
    size = 2.9 * len(panels), 3.9
    place = _charts(panels, canvas(ax, (1, len(panels)), size, "plot_agreement"))
    for axes, panel in zip(place.panels, panels, strict=True):
        axes.set_title(panel.title.replace(", ", "\n"), fontsize=10)
    return _finish(place, title, study, "Agreement of the seeds")


def plot_path(study: StudyResults, ax: Target | None = None, title: str | None = None) -> Figure:
    """Draw roles under several strengths of regularization.

    Raises:
        ResultsError: the study was run at one strength.
    """
    panels = path_panels(study)
    if not panels:
        raise ResultsError("this study was run at one strength of regularisation; there is no path")
    place = _charts(panels, canvas(ax, (1, 2), (9, 3.9), "plot_path"))
    place.legend(_role_patches(), columns=3)
    return _finish(place, title, study, "Strength of the regularisation")


def plot_faithfulness(
    study: StudyResults, ax: Target | None = None, title: str | None = None
) -> Figure:
    """Draw what the first heads of each ranking do alone, size after size.

    Raises:
        ResultsError: it was not measured, or all heads together make no sure difference.
    """
    panels = faithfulness_panels(study.faithfulness)
    if not panels:
        raise ResultsError(
            "this study has no faithfulness to draw: it was run with --budget_steps 0, or all "
            "heads together make no sure difference"
        )
    place = _charts(panels, canvas(ax, (1, 2), (9, 3.9), "plot_faithfulness"))
    return _finish(place, title, study, "The first heads kept, the others ablated")


FIGURES: dict[str, Callable[..., Figure]] = {
    "roles": plot_roles,
    "scores": plot_scores,
    "gates": plot_gates,
    "layers": plot_layers,
    "curves": plot_curves,
    "checks": plot_checks,
    "faithfulness": plot_faithfulness,
    "agreement": plot_agreement,
    "path": plot_path,
}
"""file name -> its picture"""


def _charts(panels: Iterable[Panel], place: Canvas) -> Canvas:
    for axes, panel in zip(place.panels, panels, strict=True):
        panel.draw(axes)
        axes.set_title(panel.title, fontsize=10)
    return place


def _finish(place: Canvas, title: str | None, study: StudyResults, what: str) -> Figure:
    whose = str(study.manifest.get("title", ""))
    if len(whose) > LONGEST_TITLE:
        whose = f"{whose[: LONGEST_TITLE - 3]}..."
    place.caption(title, f"{what}\n{whose}")
    return place.root


def _role_patches() -> list[Patch]:
    return [Patch(color=color, label=name) for name, color in ROLE_COLORS.items()]


def _shape(study: StudyResults) -> tuple[int, int]:
    _, layers, heads = study.roles.shape
    return int(layers), int(heads)


def _seeds(study: StudyResults) -> str:
    return f"{len(study.seeds)} seeds" if len(study.seeds) > 1 else "one seed"


def _maps(study: StudyResults, ax: Target | None, grid: tuple[int, int], name: str) -> Canvas:
    """Axes for maps beside each other."""
    (layers, heads), (rows, columns) = _shape(study), grid
    cell = float(np.clip(3.8 / max(layers, heads), 0.055, 0.3))
    panel = max(1.6, cell * heads) + 0.8, max(1.3, cell * layers) + 0.9
    place = canvas(ax, grid, (columns * panel[0], rows * panel[1] + 0.7), name)
    if ax is None:
        # Titles of the lower row keep clear of the color bars above them.
        place.root.set_layout_engine("constrained", h_pad=0.12)
    for index, axes in enumerate(place.panels):
        label_heads(axes, (layers, heads), study.unit, most=11)
        if index % columns:
            axes.set_ylabel("")
    return place


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

"""A study that draws itself: the data of `StudyResults`, as pictures and in a notebook."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from chg.report.notebook import study_html
from chg.results import StudyResults

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Study(StudyResults):
    """Everything a study found; `Study.load(folder)` reads it back."""

    def plot_roles(self) -> Figure:
        """Role of every head; a cut corner where seeds disagree."""
        return _draw("roles", self)

    def plot_scores(self) -> Figure:
        """Facilitation, irrelevance, interference and ablation score of every head."""
        return _draw("scores", self)

    def plot_gates(self) -> Figure:
        """Gates of the three fits, mean over seeds."""
        return _draw("gates", self)

    def plot_layers(self) -> Figure:
        """Roles and mean ablation score by layer."""
        return _draw("layers", self)

    def plot_curves(self) -> Figure:
        """Loss, open gates and held-out NLL over the updates."""
        return _draw("curves", self)

    def plot_checks(self) -> Figure:
        """The causal check's curves."""
        return _draw("checks", self)

    def plot_agreement(self) -> Figure:
        """How far the seeds agree, pair by pair."""
        return _draw("agreement", self)

    def plot_path(self) -> Figure:
        """Roles under several strengths of regularisation, where those were fitted."""
        return _draw("path", self)

    def _repr_html_(self) -> str:
        return study_html(self)


def _draw(name: str, study: StudyResults) -> Figure:
    # matplotlib loads when a figure is asked for.
    from chg.report.study_figures import FIGURES

    return FIGURES[name](study)

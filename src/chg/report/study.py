"""Results of a study that draw themselves, as pictures and in a notebook."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from chg.report.notebook import study_html
from chg.results import StudyResults

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, repr=False)
class Study(StudyResults):
    """Results of a study, with pictures; `Study.load(folder)` reads them back."""

    def plot_roles(self) -> Figure:
        """Draw the role of every head; a cut corner where seeds disagree."""
        return _draw("roles", self)

    def plot_scores(self) -> Figure:
        """Draw facilitation, irrelevance, interference and ablation score of every head."""
        return _draw("scores", self)

    def plot_gates(self) -> Figure:
        """Draw the gates of the three fits, mean over seeds."""
        return _draw("gates", self)

    def plot_layers(self) -> Figure:
        """Draw roles and the mean ablation score by layer."""
        return _draw("layers", self)

    def plot_curves(self) -> Figure:
        """Draw loss, open gates and held-out NLL over the updates."""
        return _draw("curves", self)

    def plot_checks(self) -> Figure:
        """Draw the causal check's curves.

        Raises:
            ResultsError: the study has no causal check.
        """
        return _draw("checks", self)

    def plot_agreement(self) -> Figure:
        """Draw the agreement of the seeds, pair by pair."""
        return _draw("agreement", self)

    def plot_path(self) -> Figure:
        """Draw roles under several strengths of regularization.

        Raises:
            ResultsError: the study was run at one strength.
        """
        return _draw("path", self)

    def _repr_html_(self) -> str:
        return study_html(self)


def _draw(name: str, study: StudyResults) -> Figure:
    # matplotlib loads when a figure is asked for.
    from chg.report.study_figures import FIGURES

    return FIGURES[name](study)

"""Results of a study that draw themselves, as pictures and in a notebook."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from chg.report.findings import findings
from chg.report.notebook import study_html
from chg.results import StudyResults

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from chg.report.canvas import Target


@dataclass(frozen=True, repr=False)
class Study(StudyResults):
    """Results of a study, with pictures; `Study.load(folder)` reads them back.

    Every `plot_` method makes a figure, or draws into `ax`: axes where the picture has one panel,
    an array of axes where it has several, or a figure, a part of one too, to make axes in.
    `title` takes the place of the usual title; "" leaves it out. Each returns the whole figure, and
    raises `ConfigError` for an `ax` that does not fit.
    """

    @property
    def findings(self) -> tuple[str, ...]:
        """Findings in sentences; the grounds of all else come first."""
        return findings(self).sentences

    def plot_roles(self, ax: Target | None = None, title: str | None = None) -> Figure:
        """Draw the role of every head; a cut corner where seeds disagree."""
        return _draw("roles", self, ax, title)

    def plot_scores(self, ax: Target | None = None, title: str | None = None) -> Figure:
        """Draw facilitation, irrelevance, interference and ablation score of every head."""
        return _draw("scores", self, ax, title)

    def plot_gates(self, ax: Target | None = None, title: str | None = None) -> Figure:
        """Draw the gates of the three fits, mean over seeds."""
        return _draw("gates", self, ax, title)

    def plot_layers(self, ax: Target | None = None, title: str | None = None) -> Figure:
        """Draw roles and the mean ablation score by layer."""
        return _draw("layers", self, ax, title)

    def plot_curves(self, ax: Target | None = None, title: str | None = None) -> Figure:
        """Draw loss, open gates and held-out NLL over the updates."""
        return _draw("curves", self, ax, title)

    def plot_checks(self, ax: Target | None = None, title: str | None = None) -> Figure:
        """Draw the causal check's curves.

        Raises:
            ResultsError: the study has no causal check.
        """
        return _draw("checks", self, ax, title)

    def plot_faithfulness(self, ax: Target | None = None, title: str | None = None) -> Figure:
        """Draw what the first heads of each ranking do alone, size after size.

        Raises:
            ResultsError: it was not measured, or all heads together make no sure difference.
        """
        return _draw("faithfulness", self, ax, title)

    def plot_agreement(self, ax: Target | None = None, title: str | None = None) -> Figure:
        """Draw the agreement of the seeds, pair by pair."""
        return _draw("agreement", self, ax, title)

    def plot_path(self, ax: Target | None = None, title: str | None = None) -> Figure:
        """Draw roles under several strengths of regularization.

        Raises:
            ResultsError: the study was run at one strength.
        """
        return _draw("path", self, ax, title)

    def _repr_html_(self) -> str:
        return study_html(self)


def _draw(name: str, study: StudyResults, ax: Target | None, title: str | None) -> Figure:
    # matplotlib loads when a figure is asked for.
    from chg.report.study_figures import FIGURES

    return FIGURES[name](study, ax, title)

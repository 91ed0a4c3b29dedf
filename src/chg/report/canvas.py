"""Places to draw: a new figure, or the axes or the figure of someone else's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from matplotlib import rc_context
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase

from chg.errors import ConfigError

DPI = 200
EMBEDDABLE: dict[Any, Any] = {"pdf.fonttype": 42, "ps.fonttype": 42, "svg.fonttype": "none"}
"""Fonts as TrueType, which conferences ask for in place of Type 3, and text in SVG as text."""
Target: TypeAlias = Axes | FigureBase | Sequence[Any] | np.ndarray[Any, Any]
"""Axes, an array of them, or a figure to make axes in."""


class PaperFigure(Figure):
    """Figure that saves its text as text."""

    def savefig(self, *arguments: Any, **settings: Any) -> None:
        """Save as matplotlib does, with fonts that can be embedded."""
        with rc_context(EMBEDDABLE):
            super().savefig(*arguments, **settings)


def save(figure: Figure, path: Path) -> None:
    """Write a figure in the format of the path's ending, the same bytes each time."""
    metadata = {"CreationDate": None} if path.suffix == ".pdf" else None
    figure.savefig(path, dpi=DPI, facecolor="white", bbox_inches="tight", metadata=metadata)


@dataclass(frozen=True)
class Canvas:
    """Axes to draw in, row by row, and the figure that they are part of."""

    figure: FigureBase
    panels: list[Axes]
    whole: bool
    """True if the figure holds nothing else, so that title and legend are the figure's."""

    @property
    def root(self) -> Figure:
        """The whole figure, also where the panels are in a part of it."""
        figure = self.figure
        while figure.figure is not None and figure.figure is not figure:
            figure = figure.figure
        assert isinstance(figure, Figure)
        return figure

    def caption(self, title: str | None, usual: str) -> None:
        """Write the title; without one the usual, but not over several axes of someone else's."""
        # The usual one holds names, in which a dollar is a dollar.
        text, has_math = (usual, False) if title is None else (title, True)
        if len(self.panels) == 1:
            self.panels[0].set_title(text, fontsize=11, parse_math=has_math)
        elif self.whole or title is not None:
            self.figure.suptitle(text, fontsize=11, parse_math=has_math)

    def legend(self, handles: Iterable[Artist], columns: int, size: int = 8) -> None:
        """Draw a legend under everything, or in the last of someone else's axes."""
        if self.whole:
            self.figure.legend(
                handles=list(handles),
                fontsize=size,
                frameon=False,
                loc="outside lower center",
                ncols=columns,
            )
        else:
            self.panels[-1].legend(handles=list(handles), fontsize=size)


def canvas(
    target: Target | None, grid: tuple[int, int], size: tuple[float, float], name: str
) -> Canvas:
    """Axes of a new figure, or those that were given.

    Args:
        target: axes, an array of them, or a figure to make axes in; None for a new figure.
        grid: rows and columns of axes.
        size: of a new figure, inches.
        name: of the function that draws, for the error.

    Raises:
        ConfigError: `target` is something else, or has another number of axes.
    """
    if target is None:
        target = PaperFigure(figsize=size)
    if isinstance(target, FigureBase):
        if isinstance(target, Figure) and target.get_layout_engine() is None:
            target.set_layout_engine("constrained")  # it leaves room for the legend
        panels = list(target.subplots(*grid, squeeze=False).ravel())
        return Canvas(target, panels, whole=True)
    panels = list(np.ravel(np.asarray(target, dtype=object)))
    count = grid[0] * grid[1]
    if len(panels) != count or not all(isinstance(axes, Axes) for axes in panels):
        raise ConfigError(_refusal(panels, count, name))
    return Canvas(panels[0].figure, panels, whole=False)


def _refusal(found: list[Any], count: int, name: str) -> str:
    wanted = "axes" if count == 1 else f"an array of {count} axes"
    are_axes = all(isinstance(axes, Axes) for axes in found)
    got = f"{len(found)} axes" if are_axes else repr(found[0])
    return f"{name} draws {count} panel{'s' * (count > 1)}: give ax {wanted} or a figure, not {got}"

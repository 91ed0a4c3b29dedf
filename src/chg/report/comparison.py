"""Comparison of studies that draws itself, and the making of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from chg.errors import ConfigError
from chg.files import ensure_folder, require_new_folder
from chg.report.comparison_findings import comparison_grounds, pair_findings
from chg.report.comparison_folder import save_comparison
from chg.report.notebook import comparison_html
from chg.results import (
    ComparisonResults,
    NamedStudy,
    StudyResults,
    compare_studies,
    require_one_shape,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from chg.report.canvas import Target


@dataclass(frozen=True, repr=False, eq=False)
class Comparison(ComparisonResults):
    """Studies of one shape beside each other, with pictures; `Comparison.load(folder)` reads one.

    `runs` and `pairs` hold what was found of every run and of every two, `table` their overlap and
    correlation with intervals, `heads` a row per head.
    """

    @property
    def sentences(self) -> tuple[str, ...]:
        """Findings in sentences, what differs between the runs themselves first."""
        grounds = tuple(ground.text for ground in comparison_grounds(self))
        found = (
            f"{pair.left} and {pair.right}: {sentence[0].lower()}{sentence[1:]}"
            for pair in self.pairs
            for sentence in pair_findings(self, pair)
        )
        return (*grounds, *found)

    def plot_roles(self, ax: Target | None = None, title: str | None = None) -> Figure:
        """Draw the role of every head in every run, heads that differ with a frame.

        Args:
            ax: an array of as many axes as runs, or a figure to make them in.
            title: in place of the usual one; "" leaves it out.

        Raises:
            ConfigError: `ax` does not fit.
        """
        from chg.report.comparison_figures import plot_role_maps

        return plot_role_maps(self, ax, title)

    def _repr_html_(self) -> str:
        return comparison_html(self, self.sentences)


def compare(
    studies: Sequence[StudyResults | str | Path],
    out: str | Path | None = None,
    *,
    names: Sequence[str] = (),
) -> Comparison:
    """Compare studies head by head: of two tasks, or of a base and a fine-tuned model.

    Args:
        studies: two or more, or their folders, of models of one shape. The same one twice is
            allowed, and differs in no head.
        out: new folder for `compare.html`, `heads.csv`, `comparison.json`, `roles.png` and
            `roles.pdf`; None writes nothing.
        names: short names of the runs, in their order; those of their folders or their titles if
            not given.

    Raises:
        ConfigError: the runs are fewer than two or of different shapes, or the names do not fit.
        ResultsError: a run is missing, unfinished or damaged.
        OutputError: `out` cannot be written, or holds something.
    """
    read = [(one, _folder(one)) for one in studies]
    if len(read) < 2:
        given = f"; give another one beside {read[0][1] or 'this'}" if read else ""
        raise ConfigError(f"a comparison takes two runs or more{given}")
    if out is not None:
        require_new_folder(out)
    called = _names(read, names)
    named = [
        NamedStudy(one if isinstance(one, StudyResults) else StudyResults.load(one), name, folder)
        for (one, folder), name in zip(read, called, strict=True)
    ]
    require_one_shape(named)
    runs, pairs, heads = compare_studies(named)
    layers, of_layer = named[0].study.roles.shape[1:]
    made = Comparison(runs, pairs, (layers, of_layer), named[0].study.unit, heads)
    if out is not None:
        save_comparison(made, ensure_folder(out))
    return made


def _folder(one: StudyResults | str | Path) -> str | None:
    return None if isinstance(one, StudyResults) else str(one)


def _names(
    studies: Sequence[tuple[StudyResults | str | Path, str | None]], given: Sequence[str]
) -> list[str]:
    """Names of the runs as they were given, or of their folders and titles, made distinct.

    Raises:
        ConfigError: the names are too many or too few, the same, or no text.
    """
    if given:
        if len(given) != len(studies) or len(set(given)) < len(given):
            raise ConfigError(
                f"--names must give each of the {len(studies)} runs a name of its own, got "
                f"{', '.join(given)}"
            )
        if not all(name.strip() and name.isprintable() for name in given):
            raise ConfigError(f"--names must be words, got {', '.join(map(repr, given))}")
        return list(given)
    names: list[str] = []
    for one, folder in studies:
        if isinstance(one, StudyResults):
            name = str(one.manifest.get("title", "study"))
        else:
            name = Path(folder or ".").resolve().name
        same = sum(other.partition(" (")[0] == name or other == name for other in names)
        names.append(f"{name} ({same + 1})" if same else name)
    return names

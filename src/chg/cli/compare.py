"""`chg compare RUN RUN ...`: studies of one shape, head by head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from chg.cli.terminal import Output, print_table, say, say_items
from chg.config import CompareConfig

if TYPE_CHECKING:
    from chg.report import Comparison

POSITIONAL = "runs"
"""The setting that may be given without its flag, first."""

EXAMPLES = """\
  chg compare runs/ioi runs/subject-verb --out runs/two-tasks
  chg compare runs/base runs/tuned --names base tuned --out runs/tuning
  chg compare runs/a runs/b runs/c --out runs/three"""


@dataclass(frozen=True)
class Command:
    """Compare studies head by head: of two tasks, or of a base and a fine-tuned model.

    Says how far runs share their facilitating heads, beside how far the seeds of one run do, which
    heads differ by more than the seeds of either run, and which roles change. Writes compare.html
    with a role map per run, heads.csv, comparison.json, roles.png and roles.pdf.
    """

    compare: CompareConfig = field(default_factory=CompareConfig)
    output: Output = field(default_factory=Output)


def run(command: Command) -> None:
    """Compare, write the folder, and say what was found."""
    from chg.report import compare

    settings = command.compare
    found = compare(settings.runs, settings.out, names=settings.names)
    say_items(found.sentences)
    print_table(
        "facilitating heads: overlap (Jaccard) and rank correlation (Spearman), 95 % intervals",
        ("between", "overlap", "p", "correlation", "p"),
        list(_rows(found)),
    )
    say(
        f"\nEverything is in {settings.out}:\n"
        "  compare.html       all of it, to open in a browser\n"
        "  heads.csv          every head in every run, and what differs\n"
        "  roles              role maps side by side, as PNG and PDF\n"
        "  comparison.json    the same for chg.Comparison.load"
    )


def _rows(found: Comparison) -> Sequence[tuple[str, ...]]:
    rows = []
    for row in found.table.to_dict("records"):
        left, right = row["left"], row["right"]
        cells = [f"seeds of {left}" if left == right else f"{left}, {right}"]
        for measure in ("overlap", "correlation"):
            mean, low, high, p = (row[f"{measure}{end}"] for end in ("", "_low", "_high", "_p"))
            ends = f" ({low:.2f} to {high:.2f})" if low == low else ""
            cells += [f"{mean:.2f}{ends}" if mean == mean else "-", f"{p:.2g}" if p == p else "-"]
        rows.append(tuple(cells))
    return rows

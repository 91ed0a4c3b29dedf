"""Tables of a comparison's page: heads that differ or change their role, roles against roles."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from chg.report.page_facts import NOTHING
from chg.report.palette import slug
from chg.results import APART, ComparisonResults, RunPair, nothing_below

if TYPE_CHECKING:
    import pandas as pd

MOST_HEADS = 300
"""Heads that the page lists; the table of all is `heads.csv`."""
Cell = tuple[str, float | None]
"""HTML, and the number to sort by, if it is not the text."""


def listed_heads(comparison: ComparisonResults, pair: RunPair) -> pd.DataFrame:
    """Heads that differ, then those that change their role, or whose ablation has another effect.

    Of the last those alone in which it is more than nothing; of each the largest change first.
    """
    import pandas as pd

    parts = [comparison.ranked(pair, column) for column in ("differs", "changed")]
    if comparison.compares_ablation(pair):
        ablated = comparison.ablated_otherwise(pair)
        parts.append(ablated[ablated[pair.column("ablation_change")].abs() > nothing_below(None)])
    together = pd.concat(parts)
    return together[~together.index.duplicated()]


def heads_table(comparison: ComparisonResults, pair: RunPair, chosen: pd.DataFrame) -> str:
    """Table of heads that can be sorted."""
    rows = chosen.head(MOST_HEADS).to_dict("records")
    # Of a score in which none of them moves, nothing need be shown.
    scores = [
        score
        for score in ("facilitation", "interference")
        if (chosen[pair.column(f"{score}_change")].abs() >= APART).any()
    ]
    cells = [_row(comparison, pair, row, scores) for row in rows]
    names = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in cells[0])
    body = "".join(f"<tr>{_cells(list(row.values()))}</tr>" for row in cells)
    more = len(chosen) - len(rows)
    rest = f'<p class="hint">{more} more are in heads.csv.</p>' if more > 0 else ""
    return (
        f'<div class="scroll"><table class="plain sortable"><thead><tr>{names}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>{rest}"
    )


def _cells(cells: list[Cell]) -> str:
    (first, place), *others = cells
    head = f'<th scope="row" data-value="{place:g}">{first}</th>'
    return head + "".join(
        f"<td>{text}</td>" if value is None else f'<td data-value="{value:.6g}">{text}</td>'
        for text, value in others
    )


def _row(
    comparison: ComparisonResults, pair: RunPair, row: dict[Any, Any], scores: Sequence[str]
) -> dict[str, Cell]:
    """Cells of a head by the names of their columns."""
    place = row["layer"] * comparison.shape[1] + row["head"]
    cells: dict[str, Cell] = {
        "head": (comparison.name(row["layer"], row["head"]), place),
        "differs": ("yes", 1) if row[pair.column("differs")] else (NOTHING, 0),
    }
    sides = pair.left, pair.right
    for name in sides:
        role = row[f"role_{name}"]
        seeds = f"{row[f'seeds_in_role_{name}']} of {len(comparison.run(name).seeds)}"
        mark = f'<i class="swatch {slug(role)}"></i>{role} <small>{seeds} seeds</small>'
        cells[f"role, {name}"] = mark, None
    for score in scores:
        for name in sides:
            mean, low, high = (row[f"{score}_{end}_{name}"] for end in ("mean", "min", "max"))
            text = f"{mean:.2f} <small>{low:.2f} to {high:.2f}</small>"
            cells[f"{score}, {name}"] = text, mean
        cells[f"{score}: change"] = _change(row, pair, score, ".2f")
    if comparison.compares_ablation(pair):
        for name in sides:
            value, error = row[f"ablation_score_{name}"], row[f"ablation_stderr_{name}"]
            cells[f"ablation, {name}"] = f"{value:+.3f} <small>\u00b1 {error:.3f}</small>", value
        cells["ablation: change"] = _change(row, pair, "ablation", ".3f")
    return cells


def _change(row: dict[Any, Any], pair: RunPair, what: str, form: str) -> Cell:
    """A change with its q; sorted by its size."""
    change, q = (row[pair.column(f"{what}_{part}")] for part in ("change", "q"))
    told = "" if np.isnan(q) else f" <small>q {q:.2g}</small>"
    return f"{change:+{form}}{told}", abs(change)


def cross_table(comparison: ComparisonResults, pair: RunPair) -> str:
    """Number of heads by their roles in both runs."""
    counts = comparison.cross_table(pair)
    left, right = html.escape(pair.left), html.escape(pair.right)
    names = "".join(f'<th scope="col">{role}</th>' for role in counts.columns)
    rows = "".join(
        f'<tr><th scope="row"><i class="swatch {slug(role)}"></i>{role}</th>'
        + "".join(
            f'<td class="{"same" if other == role else "other"}">{count or NOTHING}</td>'
            for other, count in row.items()
        )
        + "</tr>"
        for role, row in counts.iterrows()
    )
    return (
        f'<div class="scroll"><table class="plain cross"><caption>Heads with a role in {left} '
        f"(down) and in {right} (across)</caption><thead><tr><td></td>{names}</tr></thead>"
        f"<tbody>{rows}</tbody></table></div>"
    )

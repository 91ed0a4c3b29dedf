"""A study in a notebook: a few kB of HTML and SVG, without a script."""

from __future__ import annotations

import html
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chg.report.palette import ROLE_COLORS
from chg.results import ROLES, StudyResults

TOP_HEADS = 8
MAP_HEIGHT, MAP_WIDTH, LARGEST_CELL = 320, 340, 26
"""Pixels."""
CELL = "text-align:left;padding:1px 16px 1px 0;font-size:13px"


def study_html(study: StudyResults) -> str:
    """HTML with the counts of roles, the role map and the strongest heads."""
    title = html.escape(str(study.manifest.get("title", "study")))
    summary = html.escape(str(study.manifest.get("summary", "")))
    return (
        '<div style="font:14px/1.5 system-ui,sans-serif;max-width:1040px">'
        f'<div style="font-size:1.25em;font-weight:600">{title}</div>'
        f'<p style="margin:.3em 0 .8em;opacity:.8">{summary}</p>'
        '<div style="display:flex;flex-wrap:wrap;gap:12px 28px;align-items:flex-start">'
        f'<div style="max-width:{MAP_WIDTH}px">{_map(study)}{_counts(study)}</div>'
        f"{_table(study)}</div></div>"
    )


def _counts(study: StudyResults) -> str:
    items = []
    for role, color in ROLE_COLORS.items():
        count = int((study.heads["role"] == role).sum())
        swatch = f"display:inline-block;width:.8em;height:.8em;border-radius:3px;background:{color}"
        items.append(f'<span><i style="{swatch}"></i> {role} <b>{count}</b></span>')
    style = "display:flex;flex-wrap:wrap;gap:2px 16px;margin-top:6px;font-size:.92em"
    return f'<div style="{style}">{"".join(items)}</div>'


def _map(study: StudyResults) -> str:
    """Role map as SVG: one path per role, so that thousands of heads stay small."""
    roles = study.matrix("role", missing="")
    layers, heads = roles.shape
    cell = min(LARGEST_CELL, MAP_HEIGHT / layers, MAP_WIDTH / heads)
    paths = "".join(
        f'<path fill="{ROLE_COLORS[role]}" d="{_squares(roles == role)}"/>' for role in ROLES
    )
    size = f'width="{cell * heads:.0f}" height="{cell * layers:.0f}"'
    return (
        '<div style="font-size:.85em;opacity:.7">layers down, heads across</div>'
        f'<svg {size} viewBox="0 0 {heads} {layers}" role="img" aria-label="Role of every head">'
        f"{paths}</svg>"
    )


def _squares(where: NDArray[np.bool_]) -> str:
    return "".join(f"M{head} {layer}h.9v.9h-.9z" for layer, head in np.argwhere(where))


def _table(study: StudyResults) -> str:
    rows = study.heads.nlargest(TOP_HEADS, "facilitation_mean").to_dict("records")
    names = ["head", "role", "facilitation", "interference", "ablation"]
    header = "".join(f'<th style="{CELL}">{name}</th>' for name in names)
    body = "".join(f"<tr>{_cells(study, row)}</tr>" for row in rows)
    return (
        '<div><div style="font-size:.85em;opacity:.7">highest facilitation, with interval over '
        f"seeds</div><table><thead><tr>{header}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _cells(study: StudyResults, row: dict[Any, Any]) -> str:
    interval = f"{row['facilitation_low']:.2f} to {row['facilitation_high']:.2f}"
    ablation = row.get("ablation_score", np.nan)
    texts = [
        study.name(row["layer"], row["head"]),
        row["role"],
        f"{row['facilitation_mean']:.3f} ({interval})",
        f"{row['interference_mean']:.3f}",
        "\u2013" if np.isnan(ablation) else f"{ablation:+.4f}",
    ]
    return "".join(f'<td style="{CELL}">{html.escape(str(text))}</td>' for text in texts)

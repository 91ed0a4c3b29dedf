"""A study in a notebook: a few kB of HTML and SVG, without a script."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chg.report.findings import findings
from chg.report.palette import IMPORTANT, IN_THE_WAY, LOW, ROLE_COLORS
from chg.report.scale import color_scale
from chg.results import ROLES, ComparisonResults, StudyResults

TOP_HEADS = 8
MAP_HEIGHT, MAP_WIDTH, LARGEST_CELL = 320, 340, 26
"""Pixels."""
SHADES = 10
"""Shades of the ablation map on either side of zero."""
CELL = "text-align:left;padding:1px 16px 1px 0;font-size:13px"


def study_html(study: StudyResults) -> str:
    """HTML with what was found in words, the role map and the strongest heads."""
    title = html.escape(str(study.manifest.get("title", "study")))
    summary = html.escape(str(study.manifest.get("summary", "")))
    return (
        '<div style="font:14px/1.5 system-ui,sans-serif;max-width:1040px">'
        f'<div style="font-size:1.25em;font-weight:600">{title}</div>'
        f"{_opening(study)}"
        f'<p style="margin:.3em 0 .8em;opacity:.8;font-size:.9em">{summary}</p>'
        '<div style="display:flex;flex-wrap:wrap;gap:12px 28px;align-items:flex-start">'
        f'<div style="max-width:{MAP_WIDTH}px">{_role_map(study)}{_counts(study)}</div>'
        f"{_ablation_map(study)}"
        f"{_table(study)}</div></div>"
    )


def comparison_html(comparison: ComparisonResults, sentences: Iterable[str]) -> str:
    """HTML with what was found in words, and the role map of every run."""
    maps = "".join(
        f'<div style="max-width:{MAP_WIDTH}px"><b>{html.escape(run.name)}</b>'
        f"{_roles(comparison.role_map(run.name))}</div>"
        for run in comparison.runs
    )
    items = "".join(f"<li>{html.escape(sentence)}</li>" for sentence in sentences)
    return (
        '<div style="font:14px/1.5 system-ui,sans-serif;max-width:1040px">'
        f'<ul style="margin:.4em 0;padding-left:1.3em">{items}</ul>'
        f'<div style="display:flex;flex-wrap:wrap;gap:12px 28px">{maps}</div></div>'
    )


def _opening(study: StudyResults) -> str:
    """Grounds of the study, those that warn in red, and what its heads do."""
    found = findings(study)
    warning = f"color:{IMPORTANT};font-weight:600"
    grounds = "".join(
        f'<div style="margin:.3em 0;{warning if ground.warns else ""}">'
        f"{html.escape(ground.text)}</div>"
        for ground in found.grounds
    )
    roles = "".join(f"<li>{html.escape(sentence)}</li>" for sentence in found.roles)
    return f'{grounds}<ul style="margin:.4em 0;padding-left:1.3em">{roles}</ul>'


def _counts(study: StudyResults) -> str:
    items = []
    for role, color in ROLE_COLORS.items():
        count = int((study.heads["role"] == role).sum())
        swatch = f"display:inline-block;width:.8em;height:.8em;border-radius:3px;background:{color}"
        items.append(f'<span><i style="{swatch}"></i> {role} <b>{count}</b></span>')
    style = "display:flex;flex-wrap:wrap;gap:2px 16px;margin-top:6px;font-size:.92em"
    return f'<div style="{style}">{"".join(items)}</div>'


def _role_map(study: StudyResults) -> str:
    return _roles(study.matrix("role", missing=""))


def _roles(roles: NDArray[Any]) -> str:
    fills = {ROLE_COLORS[role]: roles == role for role in ROLES}
    return _map("Role of every head", fills)


def _ablation_map(study: StudyResults) -> str:
    """Map of the ablation scores with the ends of its scale; nothing if there are none."""
    if "ablation_score" not in study.heads:
        return ""
    scores = study.matrix("ablation_score")
    scale = color_scale(scores)
    shares = np.round(np.clip(scores / scale.limit, -1, 1) * SHADES)
    fills = {_shade(step / SHADES): shares == step for step in range(-SHADES, SHADES + 1)}
    low = ("\u2264 " if scale.cut in ("min", "both") else "") + f"\u2212{scale.limit:.3f}"
    high = ("\u2265 " if scale.cut in ("max", "both") else "") + f"+{scale.limit:.3f}"
    words = f"ablation score, nats per token: red {low} important, blue {high} in the way"
    small = '<div style="font-size:.85em;opacity:.7;margin-top:6px">'
    return (
        f'<div style="max-width:{MAP_WIDTH}px">{_map("Ablation score of every head", fills)}'
        f"{small}{words}</div></div>"
    )


def _shade(share: float) -> str:
    """Color between the pale one at 0 and the end of the scale at -1 or 1."""
    ends = LOW, IMPORTANT if share < 0 else IN_THE_WAY
    parts = zip(*([int(end[i : i + 2], 16) for i in (1, 3, 5)] for end in ends), strict=True)
    return "#" + "".join(f"{round(pale + abs(share) * (full - pale)):02x}" for pale, full in parts)


def _map(label: str, fills: Mapping[str, NDArray[np.bool_]]) -> str:
    """Heads as SVG: one path per color, so that thousands of them stay small."""
    layers, heads = next(iter(fills.values())).shape
    cell = min(LARGEST_CELL, MAP_HEIGHT / layers, MAP_WIDTH / heads)
    paths = "".join(
        f'<path stroke="{color}" d="{squares(where)}"/>'
        for color, where in fills.items()
        if where.any()
    )
    size = f'width="{cell * heads:.0f}" height="{cell * layers:.0f}"'
    return (
        '<div style="font-size:.85em;opacity:.7">layers down, heads across</div>'
        f'<svg {size} viewBox="0 0 {heads} {layers}" role="img" aria-label="{label}" '
        f'stroke-width=".9">{paths}</svg>'
    )


def squares(where: NDArray[np.bool_]) -> str:
    """Strokes as long as they are wide, which take half the letters of squares."""
    return "".join(f"M{head} {layer}.5h.9" for layer, head in np.argwhere(where))


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
    low, high = row["facilitation_low"], row["facilitation_high"]
    interval = "" if np.isnan(low) else f" ({low:.2f} to {high:.2f})"
    ablation = row.get("ablation_score", np.nan)
    texts = [
        study.name(row["layer"], row["head"]),
        row["role"],
        f"{row['facilitation_mean']:.3f}{interval}",
        f"{row['interference_mean']:.3f}",
        "\u2013" if np.isnan(ablation) else f"{ablation:+.4f}",
    ]
    return "".join(f'<td style="{CELL}">{html.escape(str(text))}</td>' for text in texts)

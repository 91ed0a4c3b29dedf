"""A comparison as one HTML page: maps side by side, what runs share, and the heads that differ."""

from __future__ import annotations

import html
from collections.abc import Sequence
from string import Template
from typing import Any

import numpy as np

from chg.config import column_label
from chg.report.comparison_figures import differing_map
from chg.report.comparison_findings import comparison_grounds, pair_findings
from chg.report.comparison_tables import cross_table, heads_table, listed_heads
from chg.report.frame import Frame, template_part
from chg.report.notebook import squares
from chg.report.opening import grounds, listed
from chg.report.page_charts import Section, legend, table
from chg.report.page_facts import NOTHING
from chg.report.palette import slug
from chg.results import (
    APART,
    FAMILIES,
    FEWEST_SEEDS,
    ROLES,
    ComparedRun,
    ComparisonResults,
    Likeness,
    RunPair,
    in_family,
    nothing_below,
)

LARGEST_CELL, MAP_WIDTH, MAP_HEIGHT = 26.0, 560.0, 620.0
"""Pixels of a head, and of a map at most."""
ENDS = "mean", "min", "max"
MEASURES = {"overlap": "overlap (Jaccard)", "correlation": "rank correlation (Spearman)"}
READ = ("role", "seeds", "facilitation", "interference", "ablation")
"""Columns that are read of the head that is pointed at."""


def render_comparison(comparison: ComparisonResults) -> str:
    """HTML of the page."""
    found = comparison_grounds(comparison)
    sections = [_pair(comparison, pair) for pair in comparison.pairs]
    main = Template(template_part("compare.html")).substitute(
        tone="doubtful" if any(ground.warns for ground in found) else "sound",
        grounds=grounds(found),
        runs=_runs(comparison),
        findings="".join(_findings(comparison, pair) for pair in comparison.pairs),
        legend=legend(),
        maps="".join(_map(comparison, run) for run in comparison.runs),
        matrices=_matrices(comparison),
        likeness=_likeness(comparison),
        apart=f"{APART:g}",
        fewest=FEWEST_SEEDS,
        pairs="\n\n".join(section.html for section in sections),
    )
    links = {"findings": "Findings", "map-section": "Maps", "likeness-section": "Shared"}
    frame = Frame(
        title=" and ".join(run.name for run in comparison.runs),
        skip="map-section",
        links=links | {f"{one.name}-section": html.escape(one.link) for one in sections},
        noscript="Heads that are pointed at, and the order of tables, need a script, which is "
        "switched off here.",
        scripts=("dom", "theme", "compare"),
    )
    return frame.around(main, _data(comparison))


def _runs(comparison: ComparisonResults) -> str:
    rows = []
    for run in comparison.runs:
        roles = comparison.heads[f"role_{run.name}"].to_numpy()
        facilitating = int(in_family(roles, "facilitation").sum())
        interfering = int(in_family(roles, "interference").sum())
        counts = str(len(run.seeds)), str(facilitating), str(interfering)
        rows.append((run.name, run.weights_told, run.data, *counts))
    header = ("run", "model", "data", "seeds", "facilitate", "interfere")
    return table("runs", header, rows)


def _findings(comparison: ComparisonResults, pair: RunPair) -> str:
    return f"<div><h3>{_both(pair)}</h3><ul>{listed(pair_findings(comparison, pair))}</ul></div>"


def _both(pair: RunPair) -> str:
    return f"{html.escape(pair.left)} and {html.escape(pair.right)}"


def _map(comparison: ComparisonResults, run: ComparedRun) -> str:
    """Heads of a run as SVG: one path per role, so that thousands of them stay small."""
    layers, heads = comparison.shape
    cell = min(LARGEST_CELL, MAP_WIDTH / heads, MAP_HEIGHT / layers)
    roles = comparison.role_map(run.name)
    paths = "".join(
        f'<path class="{slug(role)}" d="{squares(roles == role)}"/>'
        for role in ROLES
        if (roles == role).any()
    )
    framed = "".join(
        f"M{head + 0.1:g} {layer + 0.1:g}h.8v.8h-.8z"
        for layer, head in np.argwhere(differing_map(comparison))
    )
    left, top, width, height = 26, 18, cell * heads, cell * layers
    numbers = "".join(
        f'<text x="{left - 5}" y="{top + cell * (layer + 0.5) + 4:.1f}" text-anchor="end">{layer}'
        "</text>"
        for layer in range(0, layers, _step(layers, cell))
    ) + "".join(
        f'<text x="{left + cell * (head + 0.5):.1f}" y="{top - 5}" text-anchor="middle">{head}'
        "</text>"
        for head in range(0, heads, _step(heads, cell))
    )
    counts = ", ".join(f"{int((roles == role).sum())} {role}" for role in ROLES)
    name = html.escape(run.name)
    return (
        f'<figure><figcaption><b>{name}</b></figcaption><svg class="role-map" role="img" '
        f'aria-label="Role of every head in {name}" width="{left + width:.0f}" '
        f'height="{top + height:.0f}" viewBox="0 0 {left + width:.1f} {top + height:.1f}">'
        f"<desc>{counts}.</desc>{numbers}"
        f'<g transform="translate({left} {top}) scale({cell:.4g})">'
        f'<rect width="{heads}" height="{layers}" fill="transparent"/>{paths}'
        f'<path class="framed" d="{framed}"/>'
        '<rect class="cursor" width="1" height="1" visibility="hidden"/></g></svg></figure>'
    )


def _step(count: int, cell: float) -> int:
    """Heads from one number to the next, so that numbers keep apart."""
    return next(step for step in (1, 2, 4, 8, 16, 32, count) if step * cell >= 17 or step >= count)


def _likeness(comparison: ComparisonResults) -> str:
    rows = [
        (f"two seeds of {run.name}", *_told(run.overlap, None), *_told(run.correlation, None))
        for run in comparison.runs
    ] + [
        (
            f"a seed of {pair.left}, one of {pair.right}",
            *_told(pair.overlap, pair.overlap_p),
            *_told(pair.correlation, pair.correlation_p),
        )
        for pair in comparison.pairs
    ]
    measured = ("least and most alike", "p")
    names = [f"{name}, 95 % interval" for name in MEASURES.values()]
    header = ("between", names[0], *measured, names[1], *measured)
    return table("likeness", header, rows)


def _told(likeness: Likeness, p: float | None) -> tuple[str, str, str]:
    if not likeness.pairs:
        return NOTHING, NOTHING, NOTHING
    ends = f"{likeness.lowest:.2f} to {likeness.highest:.2f}"
    reach = f" ({likeness.low:.2f} to {likeness.high:.2f})" if likeness.has_interval else ""
    return f"{likeness.mean:.2f}{reach}", ends, NOTHING if p is None or np.isnan(p) else f"{p:.2g}"


def _matrices(comparison: ComparisonResults) -> str:
    """Means of more than two runs as squares, with those within a run on the diagonal."""
    if len(comparison.runs) < 3:
        return ""
    names = [run.name for run in comparison.runs]
    tables = []
    for measure, words in MEASURES.items():
        values = comparison.matrix(measure)
        rows = [
            (name, *(NOTHING if np.isnan(value) else f"{value:.2f}" for value in row))
            for name, row in zip(names, values, strict=True)
        ]
        tables.append(table(f"{measure}-matrix", (words, *names), rows))
    return "".join(tables)


def _pair(comparison: ComparisonResults, pair: RunPair) -> Section:
    index = comparison.pairs.index(pair)
    several = len(comparison.pairs) > 1
    chosen = listed_heads(comparison, pair)
    body = (
        heads_table(comparison, pair, chosen)
        if len(chosen)
        else "<p>No head differs, and no role changes.</p>"
    )
    body += f"<h3>Roles of all heads</h3>{cross_table(comparison, pair)}"
    return Section(
        f"pair{index}",
        f"Heads that differ: {_both(pair)}" if several else "Heads that differ",
        f"{pair.left}, {pair.right}" if several else "Heads",
        body,
        "Those that differ by more than the seeds of either run do, then those whose role changes, "
        f"then those whose ablation changes by more than {nothing_below(None):g} nats; of each the "
        "largest change first. A change is the second run less the first.",
    )


def _data(comparison: ComparisonResults) -> dict[str, Any]:
    """Content for the script: what is read of every head in every run."""
    heads, (_, width) = comparison.heads, comparison.shape
    differing = heads[[pair.column("differs") for pair in comparison.pairs]].any(axis=1)
    return {
        "first": int(differing.to_numpy().argmax()),
        "heads": heads[["layer", "head"]].to_numpy().tolist(),
        "labels": [column_label(i, comparison.unit, width) for i in range(width)],
        "columns": READ,
        "runs": [{"name": run.name, "cells": _cells(comparison, run)} for run in comparison.runs],
    }


def _cells(comparison: ComparisonResults, run: ComparedRun) -> Sequence[tuple[str, ...]]:
    columns = {
        name: comparison.heads[f"{name}_{run.name}"]
        for name in (
            "role",
            "seeds_in_role",
            *(f"{score}_{end}" for score in FAMILIES if score != "irrelevance" for end in ENDS),
            "ablation_score",
            "ablation_stderr",
        )
    }
    return [_cell(row, len(run.seeds)) for row in zip(*columns.values(), strict=True)]


def _cell(row: tuple[Any, ...], seeds: int) -> tuple[str, ...]:
    role, in_role, *gates, score, error = row
    facilitation, interference = (
        f"{mean:.2f} ({low:.2f} to {high:.2f})" for mean, low, high in (gates[:3], gates[3:])
    )
    ablation = NOTHING if np.isnan(score) else f"{score:+.4f} \u00b1 {error:.4f}"
    return role, f"{in_role} of {seeds}", facilitation, interference, ablation

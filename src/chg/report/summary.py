"""Summary report of an analysis, in plain text."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from chg.config import CLOSED_BELOW, OPEN_ABOVE
from chg.files import short_name
from chg.results import ROLES

if TYPE_CHECKING:
    import pandas as pd

    from chg.report.analysis import Analysis


SIGNIFICANT = 2.0
"""Standard errors from zero at which a single head's score is called different from zero."""


def summary_text(analysis: Analysis, top_k: int) -> str:
    """Text of the report; lists hold at most `top_k` heads."""
    parts = [_header(analysis), _scores(analysis, top_k), _layers(analysis), _gates(analysis)]
    if analysis.taxonomy is not None:
        parts.append(_roles(analysis, top_k))
    parts.append(_reading(analysis))
    return "\n\n".join(parts) + "\n"


def _header(analysis: Analysis) -> str:
    result = analysis.result
    layers, heads = result.shape
    order = f", {result.order} order" if result.order else ""
    return "\n".join(
        [
            "CHG summary report",
            "==================",
            f"model      {short_name(result.model)} ({layers} layers x {heads} heads)",
            f"data       {short_name(result.dataset)}: {result.num_sequences} sequences, "
            f"{result.num_target_tokens} target tokens",
            f"ablation   {result.mode}{order}",
            *([f"           {result.ablation_note}"] if result.ablation_note else []),
            *([f"scores     {result.method_note}"] if result.method_note else []),
            f"baseline   {result.baseline:.4f} nats per token ({result.metric_words.name})",
        ]
    )


def _scores(analysis: Analysis, top_k: int) -> str:
    table = analysis.rankings
    important = table[table.score < 0]
    in_the_way = table[table.score > 0].iloc[::-1]
    lines = [_heading(f"Scores: {analysis.score_label}")]
    lines.append(f"{len(important)} heads hurt when ablated, {len(in_the_way)} help.")
    if table.stderr.notna().any():
        certain = table.score.abs() > SIGNIFICANT * table.stderr
        lines.append(
            f"{int((certain & (table.score < 0)).sum())} and "
            f"{int((certain & (table.score > 0)).sum())} of them by more than {SIGNIFICANT:g} "
            "standard errors (single heads, not corrected for their number)."
        )
    lines += ["", f"Most important (up to {top_k}):", *_list(analysis, important.head(top_k))]
    lines += ["", f"Most anti-important (up to {top_k}):", *_list(analysis, in_the_way.head(top_k))]
    return "\n".join(lines)


def _list(analysis: Analysis, table: pd.DataFrame) -> list[str]:
    if table.empty:
        return ["  none"]
    lines = ["  rank  head      score     stderr    gate"]
    for row in table.itertuples():
        stderr = "     -   " if np.isnan(row.stderr) else f"{row.stderr:9.4f}"
        name = analysis.result.name(row.layer, row.head)
        lines.append(f"  {row.rank:4d}  {name:<7s} {row.score:+9.4f}  {stderr}  {row.gate:6.3f}")
    return lines


def _layers(analysis: Analysis) -> str:
    scores = analysis.result.scores
    lines = [_heading("Mean score by layer")]
    for layer, row in enumerate(scores):
        if np.isnan(row).all():
            lines.append(f"  layer {layer:3d}  has no heads")
            continue
        strongest = int(np.nanargmin(row))
        name = analysis.result.name(layer, strongest)
        lines.append(
            f"  layer {layer:3d}  {np.nanmean(row):+9.4f}   most important {name} "
            f"({row[strongest]:+.4f})"
        )
    return "\n".join(lines)


def _gates(analysis: Analysis) -> str:
    lines = [_heading("Gate values")]
    if not analysis.has_gate_file:
        return "\n".join([*lines, "No gate file was given: all heads were open (gates of 1)."])
    gates = analysis.rankings.gate.to_numpy()
    opened, closed = int((gates > OPEN_ABOVE).sum()), int((gates < CLOSED_BELOW).sum())
    lines.append(
        f"{opened} open (> {OPEN_ABOVE}), {closed} closed (< {CLOSED_BELOW}), "
        f"{gates.size - opened - closed} between, mean {gates.mean():.3f}."
    )
    table = analysis.rankings
    ranks = table.gate.rank().corr(table.score.rank())
    if np.isfinite(ranks):
        lines.append(
            f"Rank correlation of gate and score: {ranks:+.2f} "
            "(negative: open heads are the ones that hurt when ablated)."
        )
    return "\n".join(lines)


def _roles(analysis: Analysis, top_k: int) -> str:
    table = analysis.rankings
    lines = [_heading("Roles, from the retention (G+) and removal (G-) fits together")]
    for role, meaning in ROLES.items():
        count = int((table.role == role).sum())
        lines.append(f"  {role:<13s} {count:5d}   {meaning}")
    lists = {"facilitating": "facilitation", "interfering": "interference"}
    for role, score in lists.items():
        chosen = table[table.role == role].sort_values(score, ascending=False).head(top_k)
        lines += ["", f"{role.capitalize()} heads (up to {top_k}), by {score}:"]
        for row in chosen.itertuples():
            name = analysis.result.name(row.layer, row.head)
            lines.append(
                f"  {name:<7s} facilitation {row.facilitation:.3f}  irrelevance "
                f"{row.irrelevance:.3f}  interference {row.interference:.3f}  "
                f"score {row.score:+.4f}"
            )
        if chosen.empty:
            lines.append("  none")
    return "\n".join(lines)


def _reading(analysis: Analysis) -> str:
    lines = [
        _heading("How to read this"),
        "Score = metric with the head ablated - baseline. Negative: the model needs the head.",
        "Positive: the head is in the way. Near zero: neutral, or another head takes over.",
    ]
    if analysis.result.mode == "sequential":
        lines.append(
            "In sequential mode a score is the change at that head's step, all earlier out."
        )
    if analysis.taxonomy is None:
        lines.append(
            "One gate file tells open from closed; give --gates_retention and --gates_removal for "
            "roles."
        )
    return "\n".join(lines)


def _heading(text: str) -> str:
    return f"{text}\n{'-' * len(text)}"

"""Opening of the page: on what grounds the study stands, and what it found, in words."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping
from typing import Any

from chg.config import METRIC_WORDS
from chg.report.findings import Findings, Ground
from chg.report.page_facts import NOTHING
from chg.results import STAGE_NAMES, STAGES, StudyResults

HEADINGS = {
    "roles": "What the heads do",
    "disagreements": "Where ablation disagrees",
    "proofs": "Pairs, the causal check, and how few heads do the task",
    "known": "Heads known by their attention",
}
"""Group of findings -> its heading."""


def prose(text: str) -> str:
    """Text as HTML, in which no flag of a command is torn apart at the end of a line."""
    return re.sub(r"--[a-z_]+", r"<code>\g<0></code>", html.escape(text))


def tone(study: StudyResults, found: Findings) -> str:
    """Class of the opening: the model does not do the task, another ground is shaky, or sound."""
    if study.competence is not None and not study.competence.has_grounds:
        return "unable"
    return "doubtful" if any(ground.warns for ground in found.grounds) else "sound"


def grounds(found: Iterable[Ground]) -> str:
    """Grounds of all findings, a paragraph each; those that warn stand out."""
    lines = []
    for ground in found:
        sign = '<b aria-hidden="true">!</b> ' if ground.warns else ""
        warning = ' class="warns"' if ground.warns else ""
        lines.append(f"<p{warning}>{sign}{prose(ground.text)}</p>")
    return "".join(lines)


def findings_lists(found: Findings) -> str:
    """Findings as lists, one for each thing that they are about; nothing without any."""
    return "".join(
        f'<div class="{name}"><h3>{heading}</h3><ul>{listed(sentences)}</ul></div>'
        for name, heading in HEADINGS.items()
        if (sentences := getattr(found, name))
    )


def listed(sentences: Iterable[str]) -> str:
    """Sentences as items of a list."""
    return "".join(f"<li>{prose(sentence)}</li>" for sentence in sentences)


def held_out_table(study: StudyResults) -> str:
    """NLL and accuracy on held-out rows, ungated and gated; nothing if unknown."""
    figures, able = study.manifest.get("figures") or {}, study.competence
    names = {"ungated": "ungated"} | {str(stage): STAGE_NAMES[stage].row for stage in STAGES}
    rows = [_row(name, figures[key]) for key, name in names.items() if key in figures]
    if able is not None and rows:
        unknown = {} if study.metric == "logprob" else {"metric": None}
        wrong = {"nll": able.exchanged_nll, **unknown}
        rows.insert(1, _row("ungated, prompts of other rows", wrong))
    if not rows:
        return ""
    columns = ["gates", "NLL, nats per token", "tokens right"]
    if study.metric != "logprob":
        columns.append(METRIC_WORDS[study.metric].name)
    header = "".join(f'<th scope="col">{name}</th>' for name in columns)
    several = ", mean over the seeds and range" if len(study.seeds) > 1 else ""
    return (
        f'<div class="scroll"><table class="plain" id="figures"><caption>On held-out rows{several}'
        f"</caption><thead><tr>{header}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _row(name: str, metrics: Mapping[str, Any]) -> str:
    right = _spread(metrics.get("accuracy"), percent=True)
    nll = _spread(metrics.get("nll"))
    further = f"<td>{_spread(metrics['metric'])}</td>" if "metric" in metrics else ""
    return f'<tr><th scope="row">{name}</th><td>{nll}</td><td>{right}</td>{further}</tr>'


def _spread(value: Any, percent: bool = False) -> str:
    """Mean and range over seeds, `0.377 <small>0.360 to 0.400`; a number alone, or a dash."""
    if isinstance(value, Mapping):
        mean, low, high = (value.get(name) for name in ("mean", "min", "max"))
        if low is None or high is None or low == high:
            return _spread(mean, percent)
        ends = f"{_number(low, percent)} to {_number(high, percent)}"
        return f"{_spread(mean, percent)} <small>{ends}</small>"
    return _number(value, percent) if isinstance(value, int | float) else NOTHING


def _number(value: float, percent: bool) -> str:
    return f"{100 * value:.1f}&nbsp;%" if percent else f"{value:.3f}"

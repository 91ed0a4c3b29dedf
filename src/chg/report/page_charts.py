"""Sections of the page that are charts and words: layers, fits, check, seeds, strengths."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from chg.config import METRIC_WORDS
from chg.report.check_panels import check_panels, expectation, judgment
from chg.report.embedded import SIZE, embed
from chg.report.faithfulness_panels import faithfulness_panels
from chg.report.opening import prose
from chg.report.palette import slug
from chg.report.panels import (
    Panel,
    agreement_panels,
    between_seeds,
    curve_panels,
    layer_panels,
    path_panels,
    spread,
)
from chg.results import ROLES, SCORES, STAGE_NAMES, STAGES, StudyResults

MAX_GROUPS = 30
"""Redundant groups that are listed; the rest are counted."""
SQUARE = 3.2, 3.2
"""Inches of a matrix."""
CURVES_HINT = "Thin lines are seeds, the thick line is their mean. A dot is a single measurement."
CHECKS_HINT = (
    "Heads toggled one after another in order of a score, starting from G+: {metric} "
    "with the heads closed minus that with them open. The shade spans the seeds. "
    "The diamond is judged, where as many heads are toggled as have the role, with its 95 % "
    "interval over rows; for irrelevance the whole interval must lie in the green band."
)
FAITHFULNESS_HINT = (
    "The first heads of a ranking kept, all others ablated, on held-out rows. f is {metric} as a "
    "share of what all heads add to none; CPR is the area under it (higher is better), CMD the "
    "area between it and 1 (lower is better). Intervals of 95 % are over rows, of random orders "
    "over these as well."
)
PATH_HINT = (
    "The share of heads in each role as |lambda| rises, and the scores. Pin a head in the map to "
    "read its own."
)


@dataclass(frozen=True)
class Section:
    """Section of the page."""

    name: str
    title: str
    """Heading of the section."""
    link: str
    """Its word in the navigation."""
    body: str
    hint: str = ""

    @property
    def html(self) -> str:
        """The section as an element."""
        hint = f'<p class="hint">{html.escape(self.hint)}</p>' if self.hint else ""
        return (
            f'<section id="{self.name}-section" aria-labelledby="{self.name}-title">'
            f'<h2 id="{self.name}-title">{self.title}</h2>{hint}{self.body}</section>'
        )


def chart_sections(study: StudyResults) -> list[Section]:
    """Sections that the study has something for, in their order."""
    curves = [] if study.metrics.empty else curve_panels(study)
    hint = CHECKS_HINT.format(metric=METRIC_WORDS[study.metric].name)
    sections = [
        Section(
            "layers", "Layer profile", "Layers", legend() + _charts("layers", layer_panels(study))
        ),
        Section(
            "curves", "Fits", "Fits", _convergence(study) + _charts("curves", curves), CURVES_HINT
        ),
        Section("checks", "Causal check", "Check", _checks(study), hint),
        Section(
            "faithfulness",
            "How few heads do the task",
            "Few heads",
            _faithfulness(study),
            FAITHFULNESS_HINT.format(metric=METRIC_WORDS[study.metric].name),
        ),
        Section("agreement", "Do the seeds agree?", "Seeds", _agreement(study)),
        Section("path", "Strength of the regularisation", "Strength", _path(study), PATH_HINT),
    ]
    return [section for section in sections if section.body]


def _charts(
    name: str,
    panels: Sequence[Panel],
    notes: Iterable[str] | None = None,
    size: tuple[float, float] = SIZE,
) -> str:
    """Charts in a grid, each with its title, and a note in HTML after it."""
    if not panels:
        return ""
    figures = "".join(
        f"<figure><figcaption><b>{html.escape(panel.title)}</b>{note}</figcaption>"
        f"{embed(panel, f'{name}{index}', size)}</figure>"
        for index, (panel, note) in enumerate(zip(panels, notes or [""] * len(panels), strict=True))
    )
    return f'<div id="{name}" class="charts">{figures}</div>'


def _convergence(study: StudyResults) -> str:
    """Motion of the fits at their end, stage by stage; nothing where it was not kept."""
    convergence = study.convergence
    if not convergence.fits:
        return ""
    rows = []
    for stage in STAGES:
        fits = [fit for fit in convergence.fits if fit.stage == stage]
        moving = [str(fit.seed) for fit in fits if fit.moving]
        drifts = [fit.drift for fit in fits]
        rows.append(
            (
                STAGE_NAMES[stage].row,
                f"{len(moving)} of {len(fits)}"
                + (f" (seed {', '.join(moving)})" if moving else ""),
                f"{max((fit.changed for fit in fits), default=0):.1%}",
                f"{max(drifts, key=abs, default=0):+.3f}",
            )
        )
    names = (
        "fits",
        "still moving",
        "heads that changed, at most",
        "drift of the mean gate, at most",
    )
    tone = "warns" if convergence.moving else "hint"
    words = f'<p class="{tone}">{prose(convergence.sentence)}</p>'
    return words + table("convergence", names, rows)


def legend() -> str:
    """Roles with their colors."""
    items = "".join(f'<span><i class="swatch {slug(role)}"></i>{role}</span>' for role in ROLES)
    return f'<p class="legend">{items}</p>'


def _checks(study: StudyResults) -> str:
    able = study.competence is None or study.competence.has_grounds
    # What holds of a model that does not do its task is no cause for green.
    badges: dict[bool | None, tuple[str, str]] = {
        True: ("yes" if able else "unsure", "\u2713 "),
        False: ("no", "\u2717 "),
        None: ("unsure", ""),
    }
    notes = []
    for check in study.checks:
        tone, sign = badges[check.holds]
        notes.append(
            f" \u2013 expected {expectation(check)} "
            f'<span class="badge {tone}">{sign}{judgment(check)}</span>'
            f'<span class="verdict">{html.escape(check.verdict)}</span>'
        )
    return _charts("checks", check_panels(study), notes) + _correlations(study)


def _correlations(study: StudyResults) -> str:
    """Rank correlations as a table, a row per measured effect and a column per score."""
    found = {(row.effect, row.score): row.spearman for row in study.correlations}
    effects = dict.fromkeys(effect for effect, _ in found)
    rows = [
        (effect, *(_defined(found.get((effect, score), np.nan)) for score in SCORES))
        for effect in effects
    ]
    return table("correlations", ("rank correlation (Spearman) with", *SCORES), rows)


def _faithfulness(study: StudyResults) -> str:
    """Curves of the rankings, and a table of their areas and costs; nothing if not measured."""
    found = study.faithfulness
    if found is None:
        return ""
    words = f'<p class="hint">{prose(found.sentence)}</p>'
    rows = [
        (
            curve.ranking,
            str(curve.cmd),
            str(curve.cpr),
            f"{found.size_reaching(curve)} of {found.heads}",
            "" if curve.row_passes is None else f"{curve.row_passes:,}",
        )
        for curve in (found.curves if found.defined else ())
    ]
    names = ("ranking", "CMD", "CPR", "heads for 90 %", "row passes that it took")
    charts = _charts("faithfulness", faithfulness_panels(found))
    return words + charts + table("faithfulness-table", names, rows)


def _defined(correlation: float) -> str:
    return "\u2013" if np.isnan(correlation) else f"{correlation:+.3f}"


def table(name: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Table whose first column names the rows; nothing without rows."""
    lines = "".join(
        f'<tr><th scope="row">{html.escape(first)}</th>'
        + "".join(f"<td>{html.escape(cell)}</td>" for cell in rest)
        + "</tr>"
        for first, *rest in rows
    )
    if not lines:
        return ""
    names = "".join(f'<th scope="col">{html.escape(column)}</th>' for column in header)
    return (
        f'<div id="{name}" class="scroll"><table class="plain"><thead><tr>{names}</tr></thead>'
        f"<tbody>{lines}</tbody></table></div>"
    )


def _agreement(study: StudyResults) -> str:
    if len(study.seeds) < 2:
        return ""
    words = "".join(f"<li>{html.escape(text)}</li>" for text in _agreement_words(study))
    return (
        f'<ul class="words" id="agreement-words">{words}</ul>{_redundant(study)}'
        f"{_charts('agreement', agreement_panels(study), size=SQUARE)}"
    )


def _agreement_words(study: StudyResults) -> list[str]:
    found = study.agreement
    words = []
    for score, matrix in found.spearman.items():
        pairs = between_seeds(matrix)
        if len(pairs):
            words.append(f"Rank correlation of {score} between two seeds: {spread(pairs)}.")
    words.append(
        f"Overlap of two seeds\u2019 facilitating heads: {spread(between_seeds(found.jaccard))}."
    )
    sets = len(found.circuits)
    words.append(
        f"{len(study.seeds)} seeds found {sets} different {'set' if sets == 1 else 'sets'} of them."
    )
    always, ever = (int(study.heads[f"{when}_facilitating"].sum()) for when in ("always", "any"))
    words.append(f"Facilitating in every seed: {always} heads; in at least one: {ever}.")
    return words


def _redundant(study: StudyResults) -> str:
    """Pairs of which either suffices, as a table; nothing where none is proven."""
    if not study.redundant:
        return ""
    rows = [
        (
            " or ".join(study.name(*head) for head in pair.heads),
            f"{pair.together:+.3f}",
            " and ".join(f"{score:+.3f}" for score in pair.alone),
            f"{pair.q:.2g}",
        )
        for pair in study.redundant[:MAX_GROUPS]
    ]
    names = ("either head suffices", "both closed, nats per token", "either alone", "q")
    more = len(study.redundant) - MAX_GROUPS
    rest = f'<p class="hint">{more} more pairs are not listed here.</p>' if more > 0 else ""
    return table("redundant", names, rows) + rest


def _path(study: StudyResults) -> str:
    panels = path_panels(study)
    if not panels:
        return ""
    notes = [f'<span class="verdict">{html.escape(panel.words)}</span>' for panel in panels]
    return legend() + _charts("path", panels, notes)

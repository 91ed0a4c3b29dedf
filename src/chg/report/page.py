"""A study as one HTML page that needs nothing else: no network, no second file, no storage.

The page is put together from `template/`: text, one style sheet, and scripts in the order of
`SCRIPTS`, which share one scope. Data travel as one JSON element, which holds the csv as text.
Charts are the figures' own (`panels.py`), embedded as SVG; scripts draw the map and the table.
"""

from __future__ import annotations

import html
import json
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from chg.config import METRIC_WORDS
from chg.files import atomic_path
from chg.report.findings import findings
from chg.report.opening import findings_lists, grounds, held_out_table, tone
from chg.report.page_data import heads_csv, page_data
from chg.report.page_facts import facts_list, reading_rows, thresholds
from chg.report.palette import (
    DARK_ROLE_COLORS,
    DARK_THEME,
    LIGHT_THEME,
    ROLE_COLORS,
    css_variables,
    role_classes,
)
from chg.results import StudyResults

SCRIPTS = tuple(
    f"{name}.js"
    for name in ("data", "dom", "map", "inspector", "table", "address", "download", "main")
)


def render_page(study: StudyResults) -> str:
    """HTML of the page."""
    from chg.report.page_charts import chart_sections  # loads matplotlib

    manifest, sections = study.manifest, chart_sections(study)
    found = findings(study)
    style = Template(_part("page.css")).substitute(
        light=css_variables(ROLE_COLORS, LIGHT_THEME),
        dark=css_variables(DARK_ROLE_COLORS, DARK_THEME),
        roles=role_classes(),
    )
    script = "\n".join(_part(name) for name in SCRIPTS)
    return Template(_part("page.html")).substitute(
        title=html.escape(str(manifest.get("title", "study"))),
        summary=html.escape(str(manifest.get("summary", ""))),
        facts=facts_list(manifest),
        grounds=grounds(found),
        tone=tone(study, found),
        metrics=held_out_table(study),
        metric=METRIC_WORDS[study.metric].name,
        findings=findings_lists(found),
        reading=reading_rows(),
        **thresholds(manifest),
        links="".join(f'<a href="#{one.name}-section">{one.link}</a>' for one in sections),
        charts="\n\n".join(one.html for one in sections),
        style=style,
        data=_inert(page_data(study) | {"csv": heads_csv(study)}),
        script=f'(() => {{\n"use strict";\n{script}\n}})();',
    )


def save_page(study: StudyResults, path: str | Path) -> Path:
    """Write the page, atomically; returns its path.

    Raises:
        OutputError: `path` cannot be written.
    """
    with atomic_path(path) as temporary:
        temporary.write_text(render_page(study), encoding="utf-8")
    return Path(path)


def _part(name: str) -> str:
    return (files("chg.report") / "template" / name).read_text(encoding="utf-8")


def _inert(data: Mapping[str, Any]) -> str:
    """Encode as JSON that cannot end the script element around it."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c")

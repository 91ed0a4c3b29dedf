"""A study as one HTML page.

Charts are the figures' own (`panels.py`), embedded as SVG; scripts draw the map and the table. The
data hold the csv as text.
"""

from __future__ import annotations

import html
from pathlib import Path
from string import Template

from chg.config import METRIC_WORDS
from chg.files import atomic_path
from chg.report.findings import findings
from chg.report.frame import Frame, template_part
from chg.report.opening import findings_lists, grounds, held_out_table, tone
from chg.report.page_data import heads_csv, page_data
from chg.report.page_facts import facts_list, reading_rows, thresholds
from chg.results import StudyResults

SCRIPTS = ("data", "dom", "theme", "map", "inspector", "table", "address", "download", "main")
NOSCRIPT = "The map and the table of this page are drawn by a script, which is switched off here."
LINKS = {"findings": "Findings", "map-section": "Map", "table-section": "Table"}


def render_page(study: StudyResults) -> str:
    """HTML of the page."""
    from chg.report.page_charts import chart_sections  # loads matplotlib

    manifest, sections = study.manifest, chart_sections(study)
    found = findings(study)
    main = Template(template_part("page.html")).substitute(
        summary=html.escape(str(manifest.get("summary", ""))),
        facts=facts_list(manifest),
        grounds=grounds(found.grounds),
        tone=tone(study, found),
        metrics=held_out_table(study),
        metric=METRIC_WORDS[study.metric].name,
        findings=findings_lists(found),
        reading=reading_rows(),
        **thresholds(manifest),
        charts="\n\n".join(one.html for one in sections),
    )
    frame = Frame(
        title=str(manifest.get("title", "study")),
        skip="map-section",
        links=LINKS | {f"{one.name}-section": one.link for one in sections},
        noscript=NOSCRIPT,
        scripts=SCRIPTS,
    )
    return frame.around(main, page_data(study) | {"csv": heads_csv(study)})


def save_page(study: StudyResults, path: str | Path) -> Path:
    """Write the page, atomically; returns its path.

    Raises:
        OutputError: `path` cannot be written.
    """
    with atomic_path(path) as temporary:
        temporary.write_text(render_page(study), encoding="utf-8")
    return Path(path)

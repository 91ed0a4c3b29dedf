"""A study as one HTML page that needs nothing else: no network, no second file, no storage.

The page is put together from `template/`: text, one style sheet, and scripts in the order of
`SCRIPTS`, which share one scope. Data travel as one JSON element, which holds the csv as text.
"""

from __future__ import annotations

import html
import json
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from chg.files import atomic_path
from chg.report.page_data import heads_csv, page_data
from chg.report.palette import DARK_ROLE_COLORS, ROLE_COLORS, role_variables
from chg.results import STAGE_NAMES, StudyResults

SCRIPTS = tuple(
    f"{name}.js"
    for name in ("data", "dom", "map", "inspector", "table", "charts", "sections", "main")
)


def render_page(study: StudyResults) -> str:
    """HTML of the page."""
    manifest = study.manifest
    style = Template(_part("page.css")).substitute(
        light=role_variables(ROLE_COLORS), dark=role_variables(DARK_ROLE_COLORS)
    )
    script = "\n".join(_part(name) for name in SCRIPTS)
    return Template(_part("page.html")).substitute(
        title=html.escape(str(manifest.get("title", "study"))),
        summary=html.escape(str(manifest.get("summary", ""))),
        facts=_facts(manifest),
        metrics=_metrics_rows(manifest.get("figures") or {}),
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


def _facts(manifest: Mapping[str, Any]) -> str:
    """Model, data and settings as a list of definitions, without those the manifest lacks."""
    model, data = _mapping(manifest, "model"), _mapping(manifest, "data")
    held_out, times = _mapping(manifest, "held_out"), _mapping(manifest, "times")
    facts = {
        "model": _listed(model, "model", "revision"),
        "architecture": _listed(model, "architecture", "dtype"),
        "data": _listed(data, "name", "fingerprint"),
        "rows": _counts(data),
        "held out": _counts(held_out),
        "device": str(manifest.get("device") or ""),
        "time": ", ".join(f"{name} {_seconds(value)}" for name, value in times.items()),
        "versions": _pairs(_mapping(manifest, "versions")),
        "commit": str(manifest.get("git_commit") or ""),
        "created": str(manifest.get("created") or ""),
        "configuration": _pairs(_mapping(manifest, "configuration")),
    }
    return "".join(
        f"<div><dt>{name}</dt><dd>{html.escape(text)}</dd></div>"
        for name, text in facts.items()
        if text
    )


def _mapping(manifest: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = manifest.get(key)
    return value if isinstance(value, Mapping) else {}


def _listed(values: Mapping[str, Any], *keys: str) -> str:
    return " \u00b7 ".join(str(values[key]) for key in keys if values.get(key))


def _counts(values: Mapping[str, Any]) -> str:
    words = {"rows": "rows", "target_tokens": "target tokens"}
    return ", ".join(f"{values[key]} {word}" for key, word in words.items() if values.get(key))


def _pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in values.items() if value is not None)


def _seconds(value: Any) -> str:
    if not isinstance(value, int | float):
        return str(value)
    return f"{value:.1f} s" if value < 600 else f"{value / 60:.1f} min"


def _metrics_rows(by_stage: Mapping[str, Any]) -> str:
    """Held-out NLL and accuracy of the ungated model and of each stage, as rows of a table."""
    names = {str(stage): name.row for stage, name in STAGE_NAMES.items()}
    rows = []
    for stage, metrics in by_stage.items():
        if not isinstance(metrics, Mapping):
            continue
        cells = "".join(f"<td>{_spread(metrics.get(name))}</td>" for name in ("nll", "accuracy"))
        rows.append(f'<tr><th scope="row">{names.get(stage, html.escape(stage))}</th>{cells}')
    return "".join(rows)


def _spread(value: Any) -> str:
    """Mean and range over seeds, `0.377 <small>0.360 to 0.400`; a number alone, or a dash."""
    if isinstance(value, Mapping):
        mean, low, high = (value.get(name) for name in ("mean", "min", "max"))
        known = isinstance(low, int | float) and isinstance(high, int | float)
        if not known or low == high:
            return _spread(mean)
        return f"{_spread(mean)} <small>{low:.3f} to {high:.3f}</small>"
    return f"{value:.3f}" if isinstance(value, int | float) else "\u2013"

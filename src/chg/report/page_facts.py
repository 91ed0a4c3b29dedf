"""Facts of a study in the page: what was run, held-out figures, and the meaning of roles."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

from chg.files import short_name
from chg.report.palette import slug
from chg.results import ROLES, STAGE_NAMES

NOTHING = "\u2013"
"""Cell without a number."""
FORMULAS = {
    "facilitating": "facilitation = G\u2212",
    "irrelevant": "irrelevance = G+ (1 \u2212 G\u2212)",
    "interfering": "interference = 1 \u2212 G+",
}
"""Role -> its score, from the gates of retention (G+) and removal (G-)."""


def reading_rows() -> str:
    """Every role with its meaning and its score, as rows of a table."""
    return "".join(
        f'<tr><th scope="row"><i class="swatch {slug(role)}"></i>{role}</th>'
        f"<td>{html.escape(meaning)}</td><td>{FORMULAS.get(role, NOTHING)}</td></tr>"
        for role, meaning in ROLES.items()
    )


def facts_list(manifest: Mapping[str, Any]) -> str:
    """Model, data and settings as a list of definitions, without those the manifest lacks."""
    model, data = _mapping(manifest, "model"), _mapping(manifest, "data")
    held_out, times = _mapping(manifest, "held_out"), _mapping(manifest, "times")
    facts = {
        "model": _named(model, "model", "revision"),
        "architecture": _listed(model, "architecture", "dtype"),
        "data": _named(data, "name", "fingerprint"),
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


def _named(values: Mapping[str, Any], name: str, mark: str) -> str:
    """A name without the folders above it, and what tells its content."""
    return _listed(
        {name: short_name(str(values.get(name) or "")), mark: values.get(mark)}, name, mark
    )


def _counts(values: Mapping[str, Any]) -> str:
    words = {"rows": "rows", "target_tokens": "target tokens"}
    return ", ".join(f"{values[key]} {word}" for key, word in words.items() if values.get(key))


def _pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in values.items() if value is not None)


def _seconds(value: Any) -> str:
    if not isinstance(value, int | float):
        return str(value)
    return f"{value:.1f} s" if value < 600 else f"{value / 60:.1f} min"


def held_out_table(by_stage: Mapping[str, Any]) -> str:
    """Held-out NLL and accuracy of the ungated model and of each stage; nothing if unknown."""
    names = {str(stage): name.row for stage, name in STAGE_NAMES.items()}
    rows = []
    for stage, metrics in by_stage.items():
        if not isinstance(metrics, Mapping):
            continue
        cells = "".join(f"<td>{_spread(metrics.get(name))}</td>" for name in ("nll", "accuracy"))
        rows.append(f'<tr><th scope="row">{names.get(stage, html.escape(stage))}</th>{cells}')
    header = "".join(
        f'<th scope="col">{name}</th>' for name in ("gates", "NLL (nats per token)", "accuracy")
    )
    caption = "<caption>On held-out rows, mean over the seeds and range</caption>"
    if not rows:
        return ""
    return (
        f'<div class="scroll"><table class="plain" id="figures">{caption}'
        f"<thead><tr>{header}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _spread(value: Any) -> str:
    """Mean and range over seeds, `0.377 <small>0.360 to 0.400`; a number alone, or a dash."""
    if isinstance(value, Mapping):
        mean, low, high = (value.get(name) for name in ("mean", "min", "max"))
        known = isinstance(low, int | float) and isinstance(high, int | float)
        if not known or low == high:
            return _spread(mean)
        return f"{_spread(mean)} <small>{low:.3f} to {high:.3f}</small>"
    return f"{value:.3f}" if isinstance(value, int | float) else NOTHING

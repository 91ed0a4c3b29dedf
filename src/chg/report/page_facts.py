"""Facts of a study in the page: what was run, held-out figures, and the meaning of roles."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

from chg.config import CLOSED_BELOW, OPEN_ABOVE
from chg.files import short_name
from chg.report.palette import slug
from chg.results import FAMILIES, ROLES

NOTHING = "\u2013"
"""Cell without a number."""
FORMULAS = {
    "facilitation": "facilitation = G\u2212",
    "irrelevance": "irrelevance = G+ (1 \u2212 G\u2212)",
    "interference": "interference = 1 \u2212 G+",
}
"""Every score from the gates of retention (G+) and removal (G-)."""
ABLATION = {
    "facilitation": "below zero",
    "irrelevance": "about zero",
    "interference": "above zero",
}
"""Score of ablation that the roles of each score lead one to expect."""


def reading_rows() -> str:
    """Every role with its meaning, its score and the ablation it goes with, as rows of a table."""
    score_of = {role: score for score, roles in FAMILIES.items() for role in roles}
    return "".join(
        f'<tr><th scope="row"><i class="swatch {slug(role)}"></i>{role}</th>'
        f"<td>{html.escape(meaning)}</td>"
        f"<td>{FORMULAS.get(score_of.get(role, ''), NOTHING)}</td>"
        f"<td>{ABLATION.get(score_of.get(role, ''), NOTHING)}</td></tr>"
        for role, meaning in ROLES.items()
    )


def thresholds(manifest: Mapping[str, Any]) -> dict[str, str]:
    """Gates above and below which the study reads a head as open and as closed."""
    settings = _mapping(manifest, "configuration")
    usual = {"open_above": OPEN_ABOVE, "closed_below": CLOSED_BELOW}
    return {name: f"{settings.get(name, value):g}" for name, value in usual.items()}


def facts_list(manifest: Mapping[str, Any]) -> str:
    """Model, data and settings as a list of definitions, without those the manifest lacks."""
    model, data = _mapping(manifest, "model"), _mapping(manifest, "data")
    held_out, times = _mapping(manifest, "held_out"), _mapping(manifest, "times")
    facts = {
        "model": _named(model, "model", "revision"),
        "architecture": _listed(model, "architecture", "dtype"),
        "weights": _weights(model),
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


def _weights(model: Mapping[str, Any]) -> str:
    """Adapters at work and the quantization, where there are any."""
    adapters, kind = model.get("adapters"), model.get("quantization")
    names = adapters if isinstance(adapters, list) else []
    told = [f"adapter {name}" for name in names] + (
        [str(kind)] if kind not in (None, "none") else []
    )
    return " \u00b7 ".join(told)


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

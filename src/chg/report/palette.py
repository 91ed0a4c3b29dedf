"""Colors of roles, scores and everything else that is drawn, for pictures and for the page."""

from __future__ import annotations

from collections.abc import Mapping

from chg.results import ROLES

INK, MUTED, LINE, LOW, SURFACE = "#16202c", "#576372", "#d9dee5", "#f1f3f6", "#ffffff"
"""Text; axes and smaller text; grid lines; the pale end of a scale; the ground."""
IMPORTANT, IN_THE_WAY = "#b2182b", "#2166ac"
"""Ends of matplotlib's RdBu: red for heads that matter, blue for heads in the way."""
GATE_COLOR, LOSS_COLOR, HELD_OUT_COLOR = "#44337a", "#0b5c94", "#1d7a4c"
ATTENTION_COLOR = "#0e7c7b"
SCORE_COLORS = {"facilitation": "#0072B2", "irrelevance": "#4D4D4D", "interference": "#D55E00"}
"""Far end of each score's scale; irrelevance needs a darker color than its role."""

_LIGHT = {
    "facilitating": "#0072B2",
    "facilitating in part": "#6BB4E6",
    "irrelevant": "#D9D9D9",
    "interfering": "#D55E00",
    "interfering in part": "#F29A5E",
    "undecided": "#F0E27A",
}
_DARK = {
    "facilitating": "#3FA0DE",
    "facilitating in part": "#246BA6",
    "irrelevant": "#474D56",
    "interfering": "#EE7733",
    "interfering in part": "#A84F1E",
    "undecided": "#C9BD62",
}
ROLE_COLORS = {role: _LIGHT[role] for role in ROLES}
"""Okabe and Ito's colors (undecided paler), told apart by all common kinds of color vision; a role
held in part is nearer to the ground."""
DARK_ROLE_COLORS = {role: _DARK[role] for role in ROLES}
"""Colors of roles on a dark ground, where dark colors recede."""

LIGHT_THEME = {
    "ink": INK,
    "muted": MUTED,
    "line": LINE,
    "low": LOW,
    "surface": SURFACE,
    "important": IMPORTANT,
    "in-the-way": IN_THE_WAY,
    "gate": GATE_COLOR,
    "accent": LOSS_COLOR,
    "good": HELD_OUT_COLOR,
    "attention": ATTENTION_COLOR,
    "irrelevance": SCORE_COLORS["irrelevance"],
}
"""CSS custom property -> color of the page, for what pictures and page both draw."""
DARK_THEME = {
    "ink": "#e8edf3",
    "muted": "#9aa7b6",
    "line": "#2c3743",
    "low": "#222b35",
    "surface": "#171e26",
    "important": "#f4707c",
    "in-the-way": "#6cb0f0",
    "gate": "#b9a3f5",
    "accent": "#7cc0ee",
    "good": "#5cc48d",
    "attention": "#52c7c1",
    "irrelevance": "#d3d6da",
}


def slug(role: str) -> str:
    """Name of a role as CSS takes it, `facilitating-in-part`."""
    return role.replace(" ", "-")


def css_variables(roles: Mapping[str, str], theme: Mapping[str, str]) -> str:
    """Colors as CSS custom properties, `--facilitating: #0072B2; ...`."""
    colors = {slug(role): color for role, color in roles.items()} | dict(theme)
    return " ".join(f"--{name}: {color};" for name, color in colors.items())


def role_classes() -> str:
    """CSS rules that give an element of a role's class its color."""
    return "\n".join(f".{slug(role)} {{ --role: var(--{slug(role)}); }}" for role in ROLES)


def themed(color: str) -> str | None:
    """CSS custom property with the light color, `var(--facilitating)`; None if there is none."""
    return _VARIABLES.get(color.lower())


_VARIABLES = {
    color.lower(): f"var(--{slug(name)})" for name, color in [*LIGHT_THEME.items(), *_LIGHT.items()]
}

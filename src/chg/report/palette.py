"""Colors of roles and scores, for pictures and for the page."""

from __future__ import annotations

ROLE_COLORS = {
    "facilitating": "#0072B2",
    "facilitating in part": "#7FB8D8",
    "irrelevant": "#D9D9D9",
    "interfering": "#D55E00",
    "interfering in part": "#EAAE7F",
    "undecided": "#F0E27A",
}
"""Okabe and Ito's colors (undecided paler), told apart by all common kinds of color vision."""

DARK_ROLE_COLORS = {
    "facilitating": "#3FA0DE",
    "facilitating in part": "#24597B",
    "irrelevant": "#474D56",
    "interfering": "#EE7733",
    "interfering in part": "#85441D",
    "undecided": "#C9BD62",
}
"""Colors of roles on a dark ground, where dark colors recede."""

SCORE_COLORS = {"facilitation": "#0072B2", "irrelevance": "#4D4D4D", "interference": "#D55E00"}
"""Far end of each score's scale; irrelevance needs a darker color than its role."""

IMPORTANT, IN_THE_WAY = "#b2182b", "#2166ac"
"""Ends of matplotlib's RdBu: red for heads that matter, blue for heads in the way."""


def role_variables(colors: dict[str, str]) -> str:
    """Colors as CSS custom properties, `--facilitating: #0072B2; ...`."""
    return " ".join(f"--{role.replace(' ', '-')}: {color};" for role, color in colors.items())

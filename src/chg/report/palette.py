"""The colours of roles and scores, for pictures and for the page."""

from __future__ import annotations

ROLE_COLOURS = {
    "facilitating": "#0072B2",
    "irrelevant": "#D9D9D9",
    "interfering": "#D55E00",
    "undecided": "#F0E27A",
}
"""Okabe and Ito's colours (undecided paler), told apart by all common kinds of colour vision."""

DARK_ROLE_COLOURS = {
    "facilitating": "#3FA0DE",
    "irrelevant": "#474D56",
    "interfering": "#EE7733",
    "undecided": "#C9BD62",
}
"""The same on a dark ground: what recedes there is dark."""

SCORE_COLOURS = {"facilitation": "#0072B2", "irrelevance": "#4D4D4D", "interference": "#D55E00"}
"""The far end of each score's scale; irrelevance needs a darker one than its role."""

IMPORTANT, IN_THE_WAY = "#b2182b", "#2166ac"
"""The ends of matplotlib's RdBu: red for heads that matter, blue for heads in the way."""


def role_variables(colours: dict[str, str]) -> str:
    """The colours as CSS custom properties, `--facilitating: #0072B2; ...`."""
    return " ".join(f"--{role}: {colour};" for role, colour in colours.items())

"""Greater than: the year that something ended in comes after the year that it began in."""

from __future__ import annotations

from chg.task_rows.rows import Draw, Drawn, TaskRow

_EVENTS = [
    "war",
    "campaign",
    "siege",
    "alliance",
    "dispute",
    "expedition",
    "project",
    "reign",
    "voyage",
    "famine",
    "plague",
    "trial",
    "program",
    "conflict",
    "investigation",
    "struggle",
    "journey",
    "pilgrimage",
    "rebellion",
    "occupation",
]
_CENTURIES = range(11, 19)
_YEARS = ("09", "19", "29", "39", "49", "59", "69", "79", "89")
_LOW = "01"
"""Year of the century in the corrupted prompt, after which nearly any other is greater."""


def greater_than_row(draw: Draw) -> Drawn:
    """Draw an event and the year of its beginning; target and foil are one year to either side.

    The year ends in 9, so that every greater one has a greater digit of tens, and every smaller one
    has not: the two answers differ in their first token, whether a tokenizer keeps two digits
    together or splits them, and the right one is never a digit that is copied.
    """
    rng = draw.rng
    year, event = rng.choice(draw.items(_YEARS)), rng.choice(_EVENTS)
    century = rng.choice(_CENTURIES)
    text = f"The {event} lasted from the year {century}{{}} to the year {century}"
    prompt = text.format(year)
    if not draw.are_alike(f" {century}{year}", f" {century}{_LOW}"):
        return prompt, None
    target, foil = f"{int(year) + 1:02}", f"{int(year) - 1:02}"
    return prompt, TaskRow(prompt, target, foil, text.format(_LOW))

"""Indirect objects: of two names, one of which comes again, the other is who is given something."""

from __future__ import annotations

from chg.task_rows.rows import Draw, Drawn, TaskRow
from chg.task_rows.words import NAMES

ORDERS = ("abba", "baba")
"""The second name comes again, or the first."""

_TEMPLATES = (
    "Then, {first} and {second} went to the {place}. {again} gave a {thing} to",
    "When {first} and {second} went to the {place}, {again} gave a {thing} to",
    "After {first} and {second} met at the {place}, {again} handed a {thing} to",
    "While {first} and {second} were working at the {place}, {again} gave a {thing} to",
    "Then, {first} and {second} had a talk at the {place}. Afterwards {again} gave a {thing} to",
    "Yesterday {first} and {second} were at the {place}, and {again} decided to give a {thing} to",
    "The friends {first} and {second} found a {thing} at the {place}. {again} gave it to",
    "When {first} and {second} got a {thing} at the {place}, {again} decided to give it to",
)
_PLACES = [
    "store",
    "garden",
    "restaurant",
    "school",
    "hospital",
    "office",
    "house",
    "station",
    "beach",
    "market",
]
_THINGS = [
    "ring",
    "bone",
    "basketball",
    "computer",
    "necklace",
    "drink",
    "snack",
    "book",
    "letter",
    "ticket",
    "key",
]


def ioi_row(draw: Draw) -> Drawn:
    """Draw names and a story; the foil is the name that comes again.

    In the corrupted prompt a third name stands where a name comes again: no name is the right one
    then, and all else is as it was.
    """
    rng = draw.rng
    given, giver = rng.sample(draw.items(NAMES), 2)
    order = draw.config or rng.choice(ORDERS)
    story = {
        "first": given if order == "abba" else giver,
        "second": giver if order == "abba" else given,
        "place": rng.choice(_PLACES),
        "thing": rng.choice(_THINGS),
    }
    template = rng.choice(_TEMPLATES)
    prompt = template.format(again=giver, **story)
    thirds = [
        name
        for name in draw.items(NAMES)
        if name not in (given, giver) and draw.are_alike(f" {giver}", f" {name}")
    ]
    if not thirds or not draw.are_told_apart(given, giver):
        return prompt, None
    return prompt, TaskRow(prompt, given, giver, template.format(again=rng.choice(thirds), **story))

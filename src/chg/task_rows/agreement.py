"""Agreement: a verb goes with its subject, not with the noun of another number before it."""

from __future__ import annotations

from chg.task_rows.rows import Draw, Drawn, TaskRow
from chg.task_rows.words import PLURALS

_OPENINGS = ("It is clear that", "Everyone knows that", "We know that", "I think that")
"""Beginnings in the present tense, which the verb goes on in."""
_PLACES = ("near", "behind", "beside", "next to", "in front of", "across from")
_VERBS = ("is", "are")


def agreement_row(draw: Draw) -> Drawn:
    """Draw a subject and a distractor of the other number; the foil agrees with the distractor.

    In the corrupted prompt the subject has the other number, so that the foil is right.
    """
    rng = draw.rng
    subject, distractor = rng.sample(draw.items(PLURALS), 2)
    number = rng.randrange(2)
    right, wrong = _VERBS[number], _VERBS[1 - number]
    text = f"{rng.choice(_OPENINGS)} the {{}} {rng.choice(_PLACES)} the {distractor[1 - number]}"
    prompt = text.format(subject[number])
    if not draw.are_alike(f" {subject[0]}", f" {subject[1]}"):
        return prompt, None
    return prompt, TaskRow(prompt, right, wrong, text.format(subject[1 - number]))

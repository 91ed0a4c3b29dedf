"""Induction: random words, and the same words again up to one, which the next one follows."""

from __future__ import annotations

from chg.task_rows.rows import Draw, Drawn, TaskRow

WORDS = (8, 16)
"""Fewest and most words of the sequence: were there one number, looking back that far would do."""


def induction_row(draw: Draw) -> Drawn:
    """Draw a sequence that begins anew, and the word that came next the first time.

    The foil is a word that has not come again yet. In the corrupted prompt the two have changed
    places in the first round, so that the foil is what comes next.
    """
    words = draw.items(draw.vocabulary.words())
    if len(words) < max(WORDS):
        return "", None
    sequence = draw.rng.sample(words, draw.rng.randint(*WORDS))
    # The first word is another token in many vocabularies, for it has no space before it.
    asked = draw.rng.randint(2, len(sequence) - 2)
    other = draw.rng.randint(asked + 1, len(sequence) - 1)
    again = sequence[:asked]
    exchanged = list(sequence)
    exchanged[asked], exchanged[other] = sequence[other], sequence[asked]
    prompt = " ".join([*sequence, *again])
    corrupted = " ".join([*exchanged, *again])
    return prompt, TaskRow(prompt, sequence[asked], sequence[other], corrupted)

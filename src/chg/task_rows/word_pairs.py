"""Words and their answers: a task shown by pairs in the prompt, or said by an instruction."""

from __future__ import annotations

from dataclasses import dataclass

from chg.task_rows.rows import Draw, Drawn, TaskRow
from chg.task_rows.words import ANTONYMS, CAPITALS, FRENCH, PAST, PLURALS, Pair

INSTRUCTION = "instruction"
SHOTS = {f"{shots}-shot": shots for shots in range(1, 11)}
"""configuration -> pairs that are shown"""
CONFIGURATIONS = (*SHOTS, INSTRUCTION)
DEFAULT = "4-shot"

_SHOWN = "Q: {0}\nA:"


@dataclass(frozen=True)
class WordPairs:
    """A task of words with one answer each."""

    pairs: tuple[Pair, ...]
    wordings: tuple[str, ...]
    """Instructions, with the word's place."""
    both_ways: bool = False
    """An answer's answer is the word."""

    def __call__(self, draw: Draw) -> Drawn:
        """Draw a word, and how it is asked for; the foil is the answer to the corrupted prompt.

        That prompt asks for another word of as many tokens, and is the same else.
        """
        rng = draw.rng
        pairs = list(draw.items(self.pairs))
        rng.shuffle(pairs)
        if self.both_ways:
            pairs = [rng.choice((pair, (pair[1], pair[0]))) for pair in pairs]
        shots = SHOTS.get(draw.config or DEFAULT, 0)
        shown, (word, answer), others = pairs[:shots], pairs[shots], pairs[shots + 1 :]
        text = _SHOWN if shots else rng.choice(self.wordings)
        start = "".join(f"{_SHOWN.format(one)} {its_answer}\n\n" for one, its_answer in shown)
        prompt = start + text.format(word)
        for other, foil in others:
            if draw.are_alike(f" {word}", f" {other}") and draw.are_told_apart(answer, foil):
                return prompt, TaskRow(prompt, answer, foil, start + text.format(other))
        return prompt, None


antonym_row = WordPairs(
    ANTONYMS,
    (
        "The opposite of {0} is",
        "What is the opposite of {0}? The opposite of {0} is",
        "Name the opposite of {0}. The opposite of {0} is",
    ),
    both_ways=True,
)
capital_row = WordPairs(
    CAPITALS,
    (
        "The capital of {0} is the city of",
        "What is the capital of {0}? The capital of {0} is the city of",
        "Name the capital of {0}. The capital of {0} is",
    ),
)
french_row = WordPairs(
    FRENCH,
    (
        "English: {0}\nFrench:",
        "English word: {0}\nFrench word:",
        "Translate English to French: {0} =",
    ),
)
past_row = WordPairs(
    PAST,
    (
        "Verb: {0}\nPast tense:",
        "Present tense: I {0}. Past tense: I",
        "They {0}. In the past tense: They",
    ),
)
plural_row = WordPairs(
    PLURALS,
    (
        "What is the plural of {0}? The plural of {0} is",
        "Singular: one {0}. Plural: two",
        "One {0}. In the plural: two",
    ),
)

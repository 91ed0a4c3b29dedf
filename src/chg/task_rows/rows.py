"""A row of a task, the draw that gives it, and the parting of items into splits."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol, TypeVar
from zlib import crc32

SPLITS: dict[str, int] = {"train": 2048, "validation": 512}
"""split -> its rows, or as many as there are different prompts"""


@dataclass(frozen=True)
class TaskRow:
    """A prompt with its right and its wrong answer, and a counterfactual prompt as long."""

    prompt: str
    target: str
    """The right answer."""
    foil: str
    """The wrong answer of the contrast."""
    corrupted: str
    """The prompt of as many tokens after which the target is no better an answer than the foil."""


class Vocabulary(Protocol):
    """A tokenizer as generators see it."""

    def ids(self, text: str) -> tuple[int, ...]:
        """Tokens of a piece inside of a text; none where the tokenizer does not know them all."""

    def words(self) -> tuple[str, ...]:
        """Words of a single token, in the order of the vocabulary."""


Item = TypeVar("Item", bound=str | tuple[str, ...])


@lru_cache(maxsize=64)
def _items(items: tuple[Item, ...], held_out: bool) -> tuple[Item, ...]:
    texts = (item if isinstance(item, str) else " ".join(item) for item in items)
    return tuple(
        item
        for item, text in zip(items, texts, strict=True)
        if (crc32(text.encode()) % 10 < 3) == held_out
    )


@dataclass(frozen=True)
class Draw:
    """All that a row is drawn with."""

    config: str | None
    """Configuration of the task."""
    split: str
    rng: random.Random
    vocabulary: Vocabulary

    def items(self, items: tuple[Item, ...]) -> tuple[Item, ...]:
        """Items of the split: about three in ten are validation's, by a checksum of their text.

        So splits share none, whatever the seed.
        """
        return _items(items, self.split == "validation")

    def are_alike(self, one: str, other: str) -> bool:
        """Tell whether one piece of text can stand in the other's place, token by token."""
        length = len(self.vocabulary.ids(one))
        return length > 0 and length == len(self.vocabulary.ids(other))

    def are_told_apart(self, one: str, other: str) -> bool:
        """Tell whether two answers differ in their first token."""
        ids, others = self.vocabulary.ids(f" {one}"), self.vocabulary.ids(f" {other}")
        return ids[:1] != others[:1] and bool(ids) and bool(others)


Drawn = tuple[str, TaskRow | None]
"""A prompt and its row; None where no counterfactual prompt of as many tokens was found."""

Maker = Callable[[Draw], Drawn]
"""Draws a row."""

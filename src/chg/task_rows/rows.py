"""A row of a task, the vocabulary that it is written in, and the parting of items into splits."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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

    def ids(self, word: str) -> tuple[int, ...]:
        """Tokens of a word inside of a text; none where the tokenizer does not know it."""

    def words(self) -> Sequence[str]:
        """Words of a single token, in the order of the vocabulary."""


Drawn = tuple[str, TaskRow | None]
"""A prompt and its row; None where no counterfactual prompt of as many tokens was found."""

Maker = Callable[[str | None, str, random.Random, Vocabulary], Drawn]
"""Draws a row of a configuration and a split."""

Item = TypeVar("Item")


def is_validation(key: str) -> bool:
    """True for about three items in ten, by a checksum: whatever the seed, splits share none."""
    return crc32(key.encode()) % 10 < 3


def items_of(split: str, items: Sequence[Item], key: Callable[[Item], str] = str) -> list[Item]:
    """Items of a split, told apart by a key."""
    return [item for item in items if is_validation(key(item)) == (split == "validation")]

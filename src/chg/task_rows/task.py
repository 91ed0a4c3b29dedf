"""A task: what it asks, in which forms, and its rows in words of a tokenizer."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from zlib import crc32

from chg.task_rows.rows import SPLITS, Draw, Drawn, Maker, TaskRow, Vocabulary
from chg.task_rows.words import PLURALS

MOST_MISSES = 1000
"""Draws in a row that give a prompt already drawn, before a split counts as exhausted."""


@dataclass(frozen=True)
class Task:
    """A task that any language model can be asked, in words of its tokenizer."""

    name: str
    """Its name after `task:`."""
    description: str
    """A sentence that says it."""
    maker: Maker = field(repr=False)
    """Draws a row."""
    configurations: tuple[str, ...] = ()
    """Forms of it, for `--dataset_config`; empty where there is one form."""
    default: str | None = None
    """The form where none is asked for; None mixes all of them."""
    goes_on: bool = False
    """The target goes on with the prompt's last word: nothing stands between the two."""

    @property
    def example(self) -> TaskRow:
        """A row of its usual form, as a tokenizer of whole words would give it."""
        drawn = self._draw(None, "train", _WholeWords(), 0)
        return next(row for _, row in drawn if row is not None)

    def rows(
        self, config: str | None, split: str, vocabulary: Vocabulary, seed: int
    ) -> list[TaskRow | None]:
        """Draw the rows of a split, all with different prompts, the same for the same arguments.

        None stands for a row that the vocabulary cannot give. Of `induction` alone do the prompts
        depend on the vocabulary.
        """
        drawn: dict[str, TaskRow | None] = {}
        misses = 0
        for prompt, row in self._draw(config, split, vocabulary, seed):
            misses = misses + 1 if prompt in drawn else 0
            drawn.setdefault(prompt, row)
            if len(drawn) == SPLITS[split] or misses > MOST_MISSES:
                break
        return list(drawn.values())

    def _draw(
        self, config: str | None, split: str, vocabulary: Vocabulary, seed: int
    ) -> Iterator[Drawn]:
        config = config or self.default
        number = 0
        while True:
            # A generator for each draw: those after it are the same however much it has drawn.
            rng = random.Random(f"{self.name} {config} {split} {seed} {number}")
            yield self.maker(Draw(config, split, rng, vocabulary))
            number += 1


class _WholeWords:
    """A vocabulary in which every piece of text is a token."""

    def ids(self, text: str) -> tuple[int, ...]:
        """The piece's own token."""
        return (crc32(text.encode()),)

    def words(self) -> tuple[str, ...]:
        """Nouns, for want of a tokenizer."""
        return tuple(word for word, _ in PLURALS)

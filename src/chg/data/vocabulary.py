"""A tokenizer as the generators of tasks see it: the tokens of a word, and words of one token."""

from __future__ import annotations

import re
from itertools import islice
from typing import Any

MOST_WORDS = 2000
"""Words of a single token that are looked for: the first of a vocabulary are its commonest."""

_ANCHOR = "a"
_SPACES = ("Ġ", "▁")
"""Marks of the space before a word, in the tokenizers that keep it with the word."""
_WORD = re.compile(r"[a-z]{4,10}")


class TokenizerWords:
    """Words of a tokenizer, each looked up once."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._ids: dict[str, tuple[int, ...]] = {}
        self._words: tuple[str, ...] | None = None

    def ids(self, text: str) -> tuple[int, ...]:
        """Tokens of a piece inside of a text; none where the tokenizer does not know them all."""
        if text not in self._ids:
            self._ids[text] = self._look_up(text)
        return self._ids[text]

    def words(self) -> tuple[str, ...]:
        """Words of a single token, in the order of the vocabulary."""
        if self._words is None:
            vocabulary = self._tokenizer.get_vocab()
            tokens = sorted(vocabulary, key=vocabulary.__getitem__)
            marked = [token for token in tokens if token.startswith(_SPACES)]
            words = dict.fromkeys(token.lstrip("".join(_SPACES)) for token in marked or tokens)
            candidates = (word for word in words if _WORD.fullmatch(word))
            single = (word for word in candidates if len(self.ids(f" {word}")) == 1)
            self._words = tuple(islice(single, MOST_WORDS))
        return self._words

    def _look_up(self, text: str) -> tuple[int, ...]:
        alone, ids = (
            self._tokenizer(each, add_special_tokens=False)["input_ids"]
            for each in (_ANCHOR, _ANCHOR + text)
        )
        ids = ids[len(alone) :]
        return () if getattr(self._tokenizer, "unk_token_id", None) in ids else tuple(ids)

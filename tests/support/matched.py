"""Planted models and rows of two paths, side by side and as matched tuples."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from chg.data.tokens import TokenData, TokenRow
from chg.data.tuples import MatchedData
from chg.selftest.planted import SEPARATOR, TOKENS, copy_rows, planted_model

FIRST, SECOND = (0, 0), (1, 2)
"""The head that reads tokens 0 to 7, and the one that reads 8 to 15."""


def separate_model() -> Any:
    """A model in which one head reads one half of the tokens, another the other half."""
    return planted_model({FIRST: 1.0, SECOND: 1.0})


def separate_sides() -> tuple[TokenData, TokenData]:
    """Rows of either half of the tokens."""
    return copy_rows(128, 0, range(0, 8)), copy_rows(128, 1, range(8, TOKENS))


def token_rows(tokens: Iterable[int]) -> TokenData:
    """Rows that ask for the token they begin with."""
    rows = tuple(TokenRow((t, SEPARATOR, t), (False, False, True)) for t in tokens)
    return TokenData(rows, "planted", 0)


def matched_data(count: int = 16, tasks: Sequence[str] = ()) -> MatchedData:
    """Row `i` retains token `i % 8` and forgets the one that is 8 above it."""
    tokens = [i % 8 for i in range(count)]
    retain, forget = token_rows(tokens), token_rows(t + 8 for t in tokens)
    return MatchedData("planted", retain, forget, tuple(tasks))

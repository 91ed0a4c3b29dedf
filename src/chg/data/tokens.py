"""Token rows: ids, and which of them are scored."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from chg.data.rows import draw
from chg.errors import DataError


@dataclass(frozen=True)
class TokenRow:
    """A row of token ids, and for each true if it is a target. The first token never is."""

    ids: tuple[int, ...]
    scored: tuple[bool, ...]
    reference_ids: tuple[int, ...] | None = None
    """Counterfactual row, whose heads can stand in for ablated ones, aligned from the left."""
    foil: tuple[int, int] | None = None
    """Place of the first target token that a wrong answer does not share, and the token there."""


@dataclass(frozen=True)
class TokenData:
    """Rows ready to be scored, with counts of rows that were cut or left out."""

    rows: tuple[TokenRow, ...]
    name: str
    pad_id: int
    truncated: int = 0
    """Rows that were longer than the limit and were cut."""
    unscored: int = 0
    """Rows left out because nothing in them is scored."""
    unmatched: int = 0
    """Rows of a task left out because the tokenizer lacks words of theirs, or has no counterfactual
    prompt of as many tokens, or because target and foil begin with the same token."""

    def __repr__(self) -> str:
        return (
            f"<TokenData {self.name!r}: {len(self):,} rows, {self.num_tokens:,} tokens, "
            f"{self.num_target_tokens:,} scored>"
        )

    def __post_init__(self) -> None:
        if not self.rows:
            raise DataError(
                f"{self.name} has nothing to score: {self.unscored} rows, none with a target token"
            )
        for number, row in enumerate(self.rows):
            wrong = _wrong(row)
            if wrong:
                raise DataError(f"row {number} of {self.name} {wrong}")

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def num_target_tokens(self) -> int:
        """Tokens that are scored, over all rows."""
        return sum(sum(row.scored) for row in self.rows)

    @property
    def num_tokens(self) -> int:
        """Tokens over all rows, without padding."""
        return sum(len(row.ids) for row in self.rows)

    @property
    def has_references(self) -> bool:
        """True if every row has another one whose heads can stand in for its own."""
        return all(row.reference_ids is not None for row in self.rows)

    @property
    def has_foils(self) -> bool:
        """True if every row has a wrong answer that its target can be held against."""
        return all(row.foil is not None for row in self.rows)

    @property
    def fingerprint(self) -> str:
        """A short hash of all ids and masks: equal fingerprints, equal data."""
        digest = hashlib.sha256()
        for row in self.rows:
            digest.update(np.asarray(row.ids, dtype=np.int64).tobytes())
            digest.update(np.asarray(row.scored, dtype=np.bool_).tobytes())
            if row.reference_ids is not None:
                digest.update(b"reference")
                digest.update(np.asarray(row.reference_ids, dtype=np.int64).tobytes())
            if row.foil is not None:
                digest.update(b"foil")
                digest.update(np.asarray(row.foil, dtype=np.int64).tobytes())
        return digest.hexdigest()[:16]

    def select(self, indices: Sequence[int]) -> TokenData:
        """Some of the rows, in the order given."""
        return TokenData(tuple(self.rows[i] for i in indices), self.name, self.pad_id)

    def sample(self, rows: int, seed: int) -> TokenData:
        """At most `rows` rows, drawn with the seed, in their own order."""
        return self if rows >= len(self) else self.select(draw(len(self), rows, seed))


def _wrong(row: TokenRow) -> str | None:
    """The half sentence that says what is wrong with a row; None if nothing is."""
    ids, scored = row.ids, row.scored
    if len(ids) < 2:
        return f"has {len(ids)} tokens; it needs one to be predicted, and one to predict it from"
    if len(scored) != len(ids):
        return f"has {len(ids)} tokens, and says of {len(scored)} if they are scored"
    if scored[0] or not any(scored):
        return "scores its first token" if scored[0] else "has no token that is scored"
    for each in (ids, row.reference_ids):
        if each is not None and (not each or min(each) < 0):
            return f"has the token id {min(each)}" if each else "has an empty reference row"
    if row.foil is not None and (not 0 < row.foil[0] < len(ids) or row.foil[1] < 0):
        return f"has the foil {row.foil}; it is a place in the row after the first, and a token id"
    return None


def require_token_data(data: object) -> None:
    """See that rows are tokenized.

    Raises:
        DataError: they are anything else.
    """
    if not isinstance(data, TokenData):
        raise DataError(
            f"rows are TokenData, as chg.load_data(rows, tokenizer) makes them; got "
            f"{type(data).__name__}"
        )

"""Token rows: ids, and which of them are scored.

Text: every token but the first is a target. Prompt and target: only the target's tokens are.
The boundary between prompt and target is found on the joint text, which is what a model meets:
tokenise the prompt alone and prompt + target together; the target begins where the two first
differ. So a tokenizer that glues a space to the next word (`" Paris"`) scores the whole word, with
or without a trailing space on the prompt or a leading one on the target.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from chg.data.rows import draw
from chg.errors import DataError, reason

logger = logging.getLogger(__name__)


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


def tokenize_texts(
    texts: Sequence[str], tokenizer: Any, *, max_length: int, name: str = "texts"
) -> TokenData:
    """Tokenise plain text in one batch; every token but the first of a row is scored.

    Raises:
        DataError: nothing is left to score.
    """
    encoded: list[list[int]] = _encode(tokenizer, texts)
    rows, truncated = [], 0
    for row_ids in encoded:
        truncated += len(row_ids) > max_length
        ids = row_ids[:max_length]
        if len(ids) > 1:
            rows.append(TokenRow(tuple(ids), (False, *[True] * (len(ids) - 1))))
    return TokenData(tuple(rows), name, _pad_id(tokenizer), truncated, len(encoded) - len(rows))


def tokenize_pairs(
    pairs: Sequence[tuple[str, str]],
    tokenizer: Any,
    *,
    max_length: int,
    separator: str = " ",
    chat_template: bool = False,
    corrupted: Sequence[str] | None = None,
    foils: Sequence[str] | None = None,
    matched: bool = False,
    name: str = "pairs",
) -> TokenData:
    """Tokenise (prompt, target) pairs; only the target's tokens are scored.

    Args:
        pairs: prompts with their targets.
        tokenizer: a transformers tokenizer.
        max_length: rows are cut to this length at the beginning of the prompt.
        separator: put between the two where neither brings white space.
        chat_template: wrap each prompt as a user's turn; the target is the model's answer.
        corrupted: counterfactual prompts, each with its row's target; their heads can stand in for
            ablated ones (`reference_ids`).
        foils: wrong answers, which `logit_diff` holds targets against; a row is left out where its
            own is no other token than the target.
        matched: leave out rows whose corrupted prompt has another number of tokens or whose foil
            begins with the target's first token, and those with tokens unknown to the tokenizer.
        name: shown in messages and stored with results.

    Raises:
        DataError: nothing is left to score, or there is no chat template.
    """

    def rows_of(texts: Iterable[tuple[str, str]]) -> tuple[list[TokenRow | None], int]:
        return _pair_rows(list(texts), tokenizer, max_length, separator, chat_template)

    prompts, targets = zip(*pairs, strict=True) if pairs else ((), ())
    rows, truncated = rows_of(pairs)
    if corrupted is not None:
        references, _ = rows_of(zip(corrupted, targets, strict=True))
        rows = _with_references(rows, references, None if matched else name)
    if foils is not None:
        answers, _ = rows_of(zip(prompts, foils, strict=True))
        rows = [_with_foil(*both) for both in zip(rows, answers, strict=True)]
    scored = [row for row in rows if row is not None]
    unscored = len(pairs) - len(scored)
    if not matched:
        return TokenData(tuple(scored), name, _pad_id(tokenizer), truncated, unscored)
    unknown = getattr(tokenizer, "unk_token_id", None)
    kept = [row for row in scored if _is_matched(row, unknown)]
    unmatched = len(pairs) - len(kept)
    if not kept:
        raise DataError(
            f"no row of {name} suits this tokenizer: it lacks words of theirs, or has no "
            "counterfactual prompt of as many tokens (chg tasks --model says which tasks suit it)"
        )
    return TokenData(tuple(kept), name, _pad_id(tokenizer), truncated, unmatched=unmatched)


def _is_matched(row: TokenRow, unknown: int | None) -> bool:
    """Tell whether a row's counterfactual prompt is as long, its foil another token from the start,
    and all of its tokens known."""
    start = row.scored.index(True)
    reference = row.reference_ids
    as_long = reference is None or (
        len(reference) == len(row.ids) and reference[start:] == row.ids[start:]
    )
    told_apart = row.foil is None or row.foil[0] == start
    return as_long and told_apart and unknown not in (*row.ids, *(reference or ()))


def _pair_rows(
    pairs: Sequence[tuple[str, str]],
    tokenizer: Any,
    max_length: int,
    separator: str,
    chat_template: bool,
) -> tuple[list[TokenRow | None], int]:
    """A row per pair, None where nothing is scored, and the number of rows that were cut."""
    if chat_template:
        prompts = [_as_chat(prompt, tokenizer) for prompt, _ in pairs]
        separator = ""
    else:
        prompts = [prompt for prompt, _ in pairs]
    wholes = [_join(p, target, separator) for p, (_, target) in zip(prompts, pairs, strict=True)]
    special = not chat_template  # a chat template writes its own special tokens
    rows: list[TokenRow | None] = []
    truncated = 0
    encoded_wholes = _encode(tokenizer, wholes, special)
    for alone, ids in zip(_encode(tokenizer, prompts, special), encoded_wholes, strict=True):
        boundary = max(1, _common_prefix(alone, ids))
        if boundary >= len(ids):
            rows.append(None)
            continue
        scored = [i >= boundary for i in range(len(ids))]
        if len(ids) > max_length:
            truncated += 1
            places = _cut(ids, boundary, max_length, getattr(tokenizer, "bos_token_id", None))
            ids, scored = [ids[i] for i in places], [scored[i] for i in places]
        rows.append(TokenRow(tuple(ids), tuple(scored)))
    return rows, truncated


def _with_references(
    rows: list[TokenRow | None], references: list[TokenRow | None], name: str | None
) -> list[TokenRow | None]:
    """Join rows and the rows of their corrupted prompts; None where either has nothing to score.

    Under a name, it is said in how many rows the two are not aligned.
    """
    joined: list[TokenRow | None] = []
    shifted = 0
    for row, reference in zip(rows, references, strict=True):
        if row is None or reference is None:
            joined.append(None)
            continue
        shifted += row.scored.index(True) != reference.scored.index(True)
        joined.append(replace(row, reference_ids=reference.ids))
    if shifted and name is not None:
        logger.warning(
            "%s: in %d rows the target begins at another position after the corrupted prompt; "
            "heads stand in for each other position by position, from the left",
            name,
            shifted,
        )
    return joined


def _with_foil(row: TokenRow | None, answer: TokenRow | None) -> TokenRow | None:
    """Hold a row against the same prompt with a wrong answer; None where nothing tells them apart.

    The two are compared from where their targets begin: cut rows begin at different words.
    """
    if row is None or answer is None:
        return None
    start, other = row.scored.index(True), answer.scored.index(True)
    alike = min(start, other) - 1  # the first token may stand for what was cut
    if row.ids[start - alike : start] != answer.ids[other - alike : other]:
        return None
    wrong = answer.ids[other:]
    shared = _common_prefix(row.ids[start:], wrong)
    if start + shared == len(row.ids) or shared == len(wrong):
        return None
    return replace(row, foil=(start + shared, wrong[shared]))


def _encode(tokenizer: Any, texts: Sequence[str], special: bool = True) -> list[list[int]]:
    if not texts:
        return []
    # verbose=False: rows longer than the model are cut here, and said here.
    encoded: list[list[int]] = tokenizer(
        list(texts), add_special_tokens=special, return_attention_mask=False, verbose=False
    )["input_ids"]
    return encoded


def _join(prompt: str, target: str, separator: str) -> str:
    brings_space = not prompt or prompt[-1].isspace() or target[:1].isspace()
    return prompt + target if brings_space else prompt + separator + target


def _as_chat(prompt: str, tokenizer: Any) -> str:
    if not getattr(tokenizer, "chat_template", None):
        raise DataError("this tokenizer has no chat template; leave out --chat_template")
    turn = [{"role": "user", "content": prompt}]
    try:
        return str(tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True))
    except Exception as error:  # a template is a program of its author's
        raise DataError(f"the tokenizer's chat template fails: {reason(error)}") from error


def _cut(ids: Sequence[int], boundary: int, max_length: int, bos_id: int | None) -> list[int]:
    """Positions that stay: the prompt loses its beginning, but a start token stays in front.

    A target longer than the limit loses its end, and keeps one token to be predicted from.
    """
    head = [0] if ids[0] == bos_id and boundary > 1 else []
    start = min(len(ids) - max_length + len(head), boundary - 1)
    start = max(start, len(head))
    return head + list(range(start, start + max_length - len(head)))


def _common_prefix(left: Sequence[int], right: Sequence[int]) -> int:
    for i, (a, b) in enumerate(zip(left, right, strict=False)):
        if a != b:
            return i
    return min(len(left), len(right))


def _pad_id(tokenizer: Any) -> int:
    """Id to pad with; any will do, because padding is masked and not scored."""
    for name in ("pad_token_id", "eos_token_id"):
        value = getattr(tokenizer, name, None)
        if isinstance(value, int):
            return value
    return 0

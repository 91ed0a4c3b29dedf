"""Tokenisation: from text to rows of token ids, and which of them are scored.

Text: every token but the first is a target. Prompt and target: only the target's tokens are.
The boundary between prompt and target is found on the joint text, which is what a model meets:
tokenise the prompt alone and prompt + target together; the target begins where the two first
differ. So a tokenizer that glues a space to the next word (`" Paris"`) scores the whole word, with
or without a trailing space on the prompt or a leading one on the target.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from chg.data.counterparts import is_matched, shared_length, with_foil, with_references
from chg.data.tokens import TokenData, TokenRow
from chg.errors import DataError, reason


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
        rows = with_references(rows, references, None if matched else name)
    if foils is not None:
        answers, _ = rows_of(zip(prompts, foils, strict=True))
        rows = [with_foil(*both) for both in zip(rows, answers, strict=True)]
    scored = [row for row in rows if row is not None]
    unscored = len(pairs) - len(scored)
    if not matched:
        return TokenData(tuple(scored), name, _pad_id(tokenizer), truncated, unscored)
    unknown = getattr(tokenizer, "unk_token_id", None)
    kept = [row for row in scored if is_matched(row, unknown)]
    unmatched = len(pairs) - len(kept)
    if not kept:
        raise DataError(
            f"no row of {name} suits this tokenizer: it lacks words of theirs, or has no "
            "counterfactual prompt of as many tokens (chg tasks --model says which tasks suit it)"
        )
    return TokenData(tuple(kept), name, _pad_id(tokenizer), truncated, unmatched=unmatched)


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
        boundary = max(1, shared_length(alone, ids))
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


def _pad_id(tokenizer: Any) -> int:
    """Id to pad with; any will do, because padding is masked and not scored."""
    for name in ("pad_token_id", "eos_token_id"):
        value = getattr(tokenizer, name, None)
        if isinstance(value, int):
            return value
    return 0

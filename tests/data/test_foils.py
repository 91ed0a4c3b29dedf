"""Wrong answers: where they part from targets, and rows scored there alone."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from chg import load_data, tokenize_pairs
from chg.data import collate, pack_shared_prefix, score_at_foils
from chg.data.tokens import TokenData, TokenRow
from chg.errors import DataError
from support.rows import ragged_data

CAPITAL = {"prompt": "The capital of France is", "target": "Paris", "foil": "London"}
answers = st.text(alphabet="abc", min_size=1, max_size=6)


def test_a_foil_is_the_token_where_it_parts_from_the_target(tokenizer) -> None:  # type: ignore[no-untyped-def]
    data = load_data([CAPITAL], tokenizer, foil_column="foil")
    (row,) = data.rows
    at, token = row.foil
    wrong = tokenizer("The capital of France is London")["input_ids"]
    assert row.ids[:at] == tuple(wrong[:at])
    assert row.ids[at] != wrong[at] == token
    assert load_data([CAPITAL], tokenizer).rows[0].foil is None
    assert data.fingerprint != load_data([CAPITAL], tokenizer).fingerprint


@settings(max_examples=80, deadline=None)
@given(target=answers, foil=answers, max_length=st.integers(5, 12))
def test_cut_rows_part_where_whole_ones_do(  # type: ignore[no-untyped-def]
    tokenizer, target: str, foil: str, max_length: int
) -> None:
    prompt = "one two three four five six"
    whole = [tokenizer(f"{prompt} {answer}")["input_ids"] for answer in (target, foil)]
    parts = next((i for i, both in enumerate(zip(*whole, strict=False)) if len({*both}) > 1), None)
    pairs = [(prompt, target), ("one", "2")]
    data = tokenize_pairs(pairs, tokenizer, max_length=max_length, foils=[foil, "3"])
    if parts is None:
        assert data.unscored == 1
        return
    beyond = len(whole[0]) - len(tokenizer(prompt)["input_ids"]) >= max_length
    if len(data) < 2:
        assert beyond  # the target lost its end, and the token with it
        return
    at, token = data.rows[0].foil
    assert (data.rows[0].ids[at], token) == (whole[0][parts], whole[1][parts])


def test_rows_that_nothing_tells_apart_are_left_out(tokenizer) -> None:  # type: ignore[no-untyped-def]
    pairs = [("The capital of France is", "Paris"), ("Say", "yes")]
    data = tokenize_pairs(pairs, tokenizer, max_length=64, foils=["Paris", "no"])
    assert (len(data), data.unscored) == (1, 1)


def test_rows_are_scored_at_their_foils_alone() -> None:
    rows = (
        TokenRow((5, 6, 7, 8), (False, False, True, True), foil=(3, 9)),
        TokenRow((5, 6, 4), (False, True, True), foil=(1, 2)),
    )
    data = score_at_foils(TokenData(rows, "rows", 0))
    assert [row.scored for row in data.rows] == [
        (False, False, False, True),
        (False, True, False),
    ]
    for batch in (collate(data.rows, 0), pack_shared_prefix(data.rows, 1)):
        assert batch.tokens.tolist() == [8, 6]
        assert batch.foils.tolist() == [9, 2]
        assert batch.repeat(2).foils.tolist() == [9, 2, 9, 2]
        assert torch.equal(batch.to(torch.device("cpu")).foils, batch.foils)
    assert collate(rows, 0).foils is None


def test_rows_without_foils_are_refused() -> None:
    with pytest.raises(DataError, match="no wrong answers"):
        score_at_foils(ragged_data())


@pytest.mark.parametrize("foil", [(0, 1), (3, 1), (1, -1)])
def test_a_foil_outside_of_its_row_is_refused(foil: tuple[int, int]) -> None:
    with pytest.raises(DataError, match="foil"):
        TokenData((TokenRow((1, 2, 3), (False, True, True), foil=foil),), "rows", 0)

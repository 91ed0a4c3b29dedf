"""Which tokens are scored, and how rows are cut."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chg import tokenize_pairs, tokenize_texts
from chg.errors import DataError
from support.local_hub import SENTENCES
from support.rows import scored_text


def test_text_scores_every_token_but_the_first(tokenizer) -> None:  # type: ignore[no-untyped-def]
    data = tokenize_texts(SENTENCES, tokenizer, max_length=64)
    for row, text in zip(data.rows, SENTENCES, strict=True):
        assert row.scored == (False, *[True] * (len(row.ids) - 1))
        assert tokenizer.decode(list(row.ids)) == text


@pytest.mark.parametrize(
    ("prompt", "target", "whole"),
    [
        ("The capital of France is", "Paris", "The capital of France is Paris"),
        ("The capital of France is", " Paris", "The capital of France is Paris"),
        ("The capital of France is ", "Paris", "The capital of France is Paris"),
        ("The capital of France is\n", "Paris", "The capital of France is\nParis"),
    ],
)
def test_only_the_target_is_scored(tokenizer, prompt: str, target: str, whole: str) -> None:  # type: ignore[no-untyped-def]
    data = tokenize_pairs([(prompt, target)], tokenizer, max_length=64)
    (row,) = data.rows
    assert tokenizer.decode(list(row.ids)) == whole
    assert row.ids == tuple(tokenizer(whole)["input_ids"])
    assert scored_text(tokenizer, row).strip() == "Paris"


def test_no_separator_where_none_is_wanted(tokenizer) -> None:  # type: ignore[no-untyped-def]
    data = tokenize_pairs([("f(", "x)")], tokenizer, max_length=64, separator="")
    assert tokenizer.decode(list(data.rows[0].ids)) == "f(x)"


words = st.text(alphabet="abcdef .,\n", min_size=1, max_size=20).filter(str.strip)


@settings(max_examples=60, deadline=None)
@given(prompt=words, target=words)
def test_the_target_is_scored_whole_and_the_first_token_never(  # type: ignore[no-untyped-def]
    tokenizer, prompt: str, target: str
) -> None:
    data = tokenize_pairs([(prompt, target)], tokenizer, max_length=128)
    (row,) = data.rows
    assert not row.scored[0]
    first = row.scored.index(True)
    assert all(row.scored[first:])
    if len(tokenizer(prompt)["input_ids"]) > 1:
        assert scored_text(tokenizer, row).strip().endswith(target.strip())


def test_cutting(tokenizer) -> None:  # type: ignore[no-untyped-def]
    text = tokenize_texts([" ".join(SENTENCES)], tokenizer, max_length=10)
    assert (len(text.rows[0].ids), text.truncated) == (10, 1)
    pair = tokenize_pairs([(" ".join(SENTENCES), "Paris")], tokenizer, max_length=10)
    assert (len(pair.rows[0].ids), pair.truncated) == (10, 1)
    assert scored_text(tokenizer, pair.rows[0]).strip() == "Paris"
    long_target = tokenize_pairs([("The", " ".join(SENTENCES))], tokenizer, max_length=10)
    assert long_target.rows[0].scored == (False, *[True] * 9)


def test_cutting_keeps_the_start_token(tokenizer) -> None:  # type: ignore[no-untyped-def]
    bos = tokenizer("<|endoftext|>")["input_ids"][0]
    tokenizer.bos_token = "<|endoftext|>"
    try:
        prompt = "<|endoftext|>" + " ".join(SENTENCES)
        (row,) = tokenize_pairs([(prompt, "Paris")], tokenizer, max_length=12).rows
    finally:
        tokenizer.bos_token = None
    assert row.ids[0] == bos
    assert len(row.ids) == 12
    assert scored_text(tokenizer, row).strip() == "Paris"


def test_chat_template(tokenizer) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(DataError, match="no chat template"):
        tokenize_pairs([("a", "b")], tokenizer, max_length=64, chat_template=True)
    tokenizer.chat_template = (
        "{% for m in messages %}User: {{ m.content }}\n{% endfor %}"
        "{% if add_generation_prompt %}Model:{% endif %}"
    )
    try:
        data = tokenize_pairs([("Say it", " Paris")], tokenizer, max_length=64, chat_template=True)
    finally:
        tokenizer.chat_template = None
    assert tokenizer.decode(list(data.rows[0].ids)) == "User: Say it\nModel: Paris"
    assert scored_text(tokenizer, data.rows[0]) == " Paris"


@pytest.mark.parametrize(
    "template",
    ["{{ ''.__class__.__mro__[1].__subclasses__() }}", "{% if %}", "{{ raise_exception('no') }}"],
)
def test_a_chat_template_that_fails_is_refused_in_one_line(tokenizer, template: str) -> None:  # type: ignore[no-untyped-def]
    import copy

    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.chat_template = template
    with pytest.raises(DataError, match="the tokenizer's chat template fails: "):
        tokenize_pairs([("a", "b")], tokenizer, max_length=9, chat_template=True)

"""Matched tuples: their splits, and what is left out or refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import chg
from chg import load_tuples, split_tuples
from chg.builtin.tasks import builtin_rows
from chg.builtin.words import WORD_PAIRS
from chg.data.tuples import MatchedData
from chg.errors import DataError
from support.matched import matched_data, separate_sides
from support.rows import write_rows


def test_splits_of_tuples_are_apart_and_repeatable() -> None:
    data = replace(matched_data(40), tasks=tuple(f"row {i}" for i in range(40)))
    once, again = (split_tuples(data, None, seed=3) for _ in range(2))
    assert once == again
    assert once.unseen is None
    assert len(once.held_out) == 4
    assert sorted(once.fitting.tasks + once.held_out.tasks) == sorted(data.tasks)
    assert once.held_out.tasks != split_tuples(data, None, seed=4).held_out.tasks


def test_python_refuses_what_does_not_match() -> None:
    sides = separate_sides()
    with pytest.raises(DataError, match="128 rows to retain, 3 to forget"):
        MatchedData("sides", sides[0], sides[1].select(range(3)), ())
    with pytest.raises(DataError, match="at least 2"):
        split_tuples(matched_data(1), None)
    with pytest.raises(DataError, match="nothing is left to fit"):
        split_tuples(matched_data(2, ["a", "a"]), None, hold_out="a")


def test_tuples_with_something_empty_are_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = builtin_rows("format", None, "train", 4)
    rows[1]["forget_target"] = " "
    _, tokenizer = chg.load_model("builtin:tiny")
    data = load_tuples(str(write_rows(tmp_path / "tuples.jsonl", rows)), tokenizer)
    assert "1 of 4 tuples left out" in caplog.text
    assert data.tasks == tuple(rows[i]["task"] for i in (0, 2, 3))
    assert len(data.retain) == len(data.forget) == 3


def test_the_built_in_tuples_have_a_validation_split_of_every_task() -> None:
    _, tokenizer = chg.load_model("builtin:tiny")
    data = load_tuples("builtin:format", tokenizer, limit=64)
    validation = load_tuples("builtin:format", tokenizer, split="validation")
    assert validation.task_names == tuple(sorted(WORD_PAIRS))
    for retain, forget in zip(data.retain.rows, data.forget.rows, strict=True):
        assert retain.ids[-3:] == forget.ids[-3:], "the same word, colon and answer"
        assert retain.ids[:-3] != forget.ids[:-3]

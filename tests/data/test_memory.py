"""Rows in memory go where a data set's name goes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pandas as pd
import pytest
from transformers import PreTrainedTokenizerBase

from chg import load_data, load_tuples
from chg.errors import DataError
from chg.selftest.planted import copy_rows
from support.rows import scored_text, write_rows

ROWS: list[dict[str, Any]] = [
    {"prompt": f"The number {i} is", "target": "even" if i % 2 else "odd"} for i in range(20)
]
KINDS: dict[str, Callable[[list[dict[str, Any]]], Any]] = {
    "a list of dicts": list,
    "a tuple of dicts": tuple,
    "a DataFrame": pd.DataFrame,
    "a DataFrame with an index": lambda rows: pd.DataFrame(rows).iloc[::-1].iloc[::-1],
    "a Dataset": datasets.Dataset.from_list,
}


@pytest.mark.parametrize("kind", KINDS)
def test_they_are_read_as_a_file_is(
    kind: str, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    rows = KINDS[kind](ROWS)
    expected = load_data(str(write_rows(tmp_path / "rows.jsonl", ROWS)), tokenizer)
    found = load_data(rows, tokenizer)
    assert found.rows == expected.rows
    assert found.fingerprint == expected.fingerprint
    assert found.name == "rows in memory"
    named = load_data(rows, tokenizer, name="parity", limit=5, seed=1)
    assert (named.name, len(named)) == ("parity", 5)
    swapped = load_data(rows, tokenizer, prompt_column="target", target_column="prompt")
    assert scored_text(tokenizer, swapped.rows[1]).strip() == "The number 1 is"


def test_missing_values_and_columns_are_met_as_in_files(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    gaps = [{"prompt": "a b"}, *ROWS, {"prompt": "c d", "target": None}]
    for rows in (gaps, pd.DataFrame(gaps)):
        assert load_data(rows, tokenizer).rows == load_data(ROWS, tokenizer).rows
    numbers = [{"prompt": "one and one is", "target": 2}, {"prompt": "one is", "target": None}]
    assert scored_text(tokenizer, load_data(numbers, tokenizer).rows[0]).strip() == "2"
    with pytest.raises(DataError, match="rows in memory has no column 'text'; it has a, b"):
        load_data([{"a": "x", "b": "y"}], tokenizer)
    for nothing in ([], pd.DataFrame({"text": []})):
        with pytest.raises(DataError, match="rows in memory has no rows"):
            load_data(nothing, tokenizer)


REFUSED: dict[str, tuple[Any, dict[str, Any], str]] = {
    "a list of strings": (["a", "b"], {}, r"a list of dicts.*got list of str\..*tokenize_texts"),
    "a list of pairs": ([("a", "b")], {}, "got list of tuple"),
    "a dict": ({"prompt": ["a"]}, {}, "got dict"),
    "tokens": (copy_rows(2), {}, "got TokenData"),
    "nothing": (None, {}, "got NoneType"),
    "splits": (datasets.DatasetDict(), {}, "got DatasetDict"),
    "mixed": ([{"prompt": "a", "target": 1}, {"prompt": "b", "target": {}}], {}, "no table"),
    "a split of rows": (ROWS, {"split": "train[:5]"}, "are for a data set by name"),
    "a name for a name": ("builtin:aba", {"name": "mine"}, "'builtin:aba' names itself"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_anything_else_gets_one_clear_error(case: str, tokenizer: PreTrainedTokenizerBase) -> None:
    given, settings, message = REFUSED[case]
    with pytest.raises(DataError, match=message) as refused:
        load_data(given, tokenizer, **settings)
    assert "\n" not in str(refused.value)


def test_matched_tuples_in_memory(tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    rows = [
        {
            "retain_prompt": f"say {i}", "retain_target": "yes",
            "forget_prompt": f"tell {i}", "forget_target": "no", "task": "ab"[i % 2],
        }
        for i in range(4)
    ]  # fmt: skip
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    expected = load_tuples(str(tmp_path / "rows.json"), tokenizer)
    found = load_tuples(pd.DataFrame(rows), tokenizer, name="yes and no")
    assert found.name == "yes and no"
    assert found.tasks == expected.tasks
    assert (found.retain.rows, found.forget.rows) == (expected.retain.rows, expected.forget.rows)

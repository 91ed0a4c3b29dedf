"""Tasks in words of a tokenizer: as many tokens, answers that part at once, rows left out."""

from __future__ import annotations

import logging
from functools import cache

import numpy as np
import pytest
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

import chg
from chg import load_data
from chg.config import DataConfig
from chg.data import open_held_out, open_rows, take_held_out, tokenize_rows, with_column
from chg.errors import DataError
from support.tokenizers import TOKENIZERS

FORMS = [
    (task.name, config)
    for task in chg.tasks().values()
    for config in (None, *(("instruction",) if task.default else ()))
]


@cache
def tokenizer_of(kind: str) -> PreTrainedTokenizerFast:
    return TOKENIZERS[kind]()


@pytest.fixture(scope="module")
def tiny() -> PreTrainedTokenizerBase:
    return chg.load_model("builtin:tiny")[1]


@pytest.mark.parametrize("kind", [kind for kind in TOKENIZERS if kind != "few words"])
@pytest.mark.parametrize(("name", "config"), FORMS)
def test_prompts_are_as_long_and_answers_part_at_their_first_token(
    name: str, config: str | None, kind: str
) -> None:
    tokenizer = tokenizer_of(kind)
    if (name, kind) == ("greater-than", "whole words"):  # to it a year is one word
        with pytest.raises(DataError, match="suits this tokenizer"):
            load_data("task:greater-than", tokenizer)
        return
    data = load_data(f"task:{name}", tokenizer, config=config, split="train[:120]")
    assert 0 < len(data) <= 120
    assert len(data) + data.unmatched <= 120
    assert data.unscored == data.truncated == 0
    for row in data.rows:
        start = row.scored.index(True)
        assert row.reference_ids is not None
        assert row.foil is not None
        assert len(row.reference_ids) == len(row.ids)
        assert row.reference_ids[start:] == row.ids[start:]
        assert row.reference_ids != row.ids
        assert row.foil[0] == start
        assert row.foil[1] != row.ids[start]
        if kind in ("metaspace", "whole words"):
            assert tokenizer.unk_token_id not in (*row.ids, *row.reference_ids)


def test_induction_asks_for_words_of_a_single_token() -> None:
    tokenizer = tokenizer_of("byte-level, pairs of digits")
    data = load_data("task:induction", tokenizer, split="train[:50]")
    for row in data.rows:
        assert sum(row.scored) == 1
        again = row.ids[:-1].index(row.ids[-2])
        assert row.ids[again + 1] == row.ids[-1]
    assert (
        data.fingerprint == load_data("task:induction", tokenizer, split="train[:50]").fingerprint
    )
    other = load_data("task:induction", tokenizer_of("metaspace"), split="train[:50]")
    assert data.fingerprint != other.fingerprint


@pytest.mark.parametrize("kind", ["byte-level, pairs of digits", "byte-level, single digits"])
def test_a_year_goes_on_where_the_prompt_ends(kind: str) -> None:
    tokenizer = tokenizer_of(kind)
    data = load_data("task:greater-than", tokenizer, limit=20)
    for row in data.rows:
        text = tokenizer.decode(row.ids)
        begun, ended = (int(word) for word in text.split() if word.isdigit())
        assert ended == begun + 1


def test_rows_that_cannot_be_matched_are_counted_and_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    tokenizer = tokenizer_of("few words")
    with caplog.at_level(logging.INFO, "chg"):
        data = load_data("task:subject-verb", tokenizer, limit=300)
    assert data.unmatched > 0
    assert len(data) + data.unmatched == 300
    assert f"{data.unmatched} rows left out, for which this tokenizer has no words" in caplog.text
    assert "another position" not in caplog.text


def test_the_built_in_tokenizer_knows_words_to_repeat_and_no_sentences(
    tiny: PreTrainedTokenizerBase,
) -> None:
    assert len(load_data("task:induction", tiny, limit=64)) == 64
    for name in ("ioi", "antonym"):
        with pytest.raises(DataError, match="suits this tokenizer: it lacks words"):
            load_data(f"task:{name}", tiny)


def test_limits_slices_and_splits(tiny: PreTrainedTokenizerBase) -> None:
    def rows(**settings: object) -> list[tuple[int, ...]]:
        data = load_data("task:induction", tiny, **settings)  # type: ignore[arg-type]
        return [row.ids for row in data.rows]

    all_rows = rows()
    assert len(all_rows) == 2048
    assert rows(split="train[10:20]") == all_rows[10:20]
    assert rows(split="train[:1%]") == all_rows[:20]
    assert len(rows(limit=7)) == 7
    assert set(rows(limit=7)) < set(all_rows)
    assert rows(split="auto", limit=9) == rows(split="validation", limit=9)
    assert rows(split="train[:10]", seed=1) != all_rows[:10]
    with pytest.raises(DataError, match=r"split 'train\[x\]' is not understood"):
        rows(split="train[x]")


def test_held_out_rows_are_those_of_validation(tiny: PreTrainedTokenizerBase) -> None:
    config = DataConfig(dataset="task:induction", limit=30)
    data = tokenize_rows(open_rows(config, 5), tiny)
    fitting, held_out = take_held_out(
        data, open_held_out(config, rows=12, seed=5), tiny, rows=12, seed=5
    )
    assert fitting == data
    assert len(held_out) == 12
    assert held_out.name == "task:induction:validation"
    assert not set().union(*(row.ids[1:] for row in data.rows)) & set().union(
        *(row.ids[1:] for row in held_out.rows)
    )
    validation = DataConfig(dataset="task:induction", dataset_split="validation")
    assert open_held_out(validation, rows=12, seed=5) is None


def test_columns_are_the_tasks_own() -> None:
    config = DataConfig(dataset="task:ioi")
    assert with_column(config, "corrupted").corrupted_column == "corrupted"
    assert with_column(config, "foil").foil_column == "foil"
    open_rows(with_column(config, "foil"), 0)
    for settings in ({"text_column": "prompt"}, {"foil_column": "wrong"}):
        with pytest.raises(DataError, match="has the columns prompt, target, foil and corrupted"):
            open_rows(DataConfig(dataset="task:ioi", **settings), 0)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="not the columns of matched tuples"):
        chg.load_tuples("task:ioi", None)


def test_heads_are_resampled_and_answers_compared_without_naming_columns() -> None:
    model, tokenizer = chg.load_model("builtin:tiny")
    data = load_data("task:induction", tokenizer, limit=8)
    for ablation in ("zero", "mean", "resample"):
        result = chg.ablate_heads(
            model, data, ablation=ablation, metric="logit_diff", show_progress=False
        )
        assert np.isfinite(result.scores).all()

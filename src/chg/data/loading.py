"""From a dataset's name to token rows: open them, then tokenise once."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

from chg.data.memory import AnyRows, rows_and_settings
from chg.data.rows import (
    RawRows,
    draw,
    open_in_memory,
    open_prompts,
    open_rows,
    split_held_out,
)
from chg.data.task_split import TaskSplit
from chg.data.tokenizing import tokenize_pairs, tokenize_texts
from chg.data.tokens import TokenData

logger = logging.getLogger(__name__)


def load_data(
    dataset: AnyRows,
    tokenizer: Any,
    *,
    name: str | None = None,
    config: str | None = None,
    split: str = "train",
    seed: int = 42,
    **settings: Any,
) -> TokenData:
    """Load and tokenise rows.

    Args:
        dataset: a name (hub, local path, `task:...`, `builtin:...`) or a full `DataConfig`; or rows
            in memory: a list of dicts, a pandas DataFrame or a `datasets.Dataset`.
        tokenizer: a transformers tokenizer.
        name: the name that results give to rows in memory.
        config: configuration of the dataset, if it has several.
        split: split with optional slice, or `auto`.
        seed: draws the rows where `limit` asks for fewer than there are.
        settings: further fields of `DataConfig`, such as `limit=` or `prompt_column=`.

    Raises:
        DataError: the data cannot be loaded, lacks a column, or has nothing to score.

    Example:
        >>> data = load_data("wikitext", tokenizer, config="wikitext-2-raw-v1", split="train[:1%]")
        >>> data = load_data([{"prompt": "big : small ; hot :", "target": "cold"}], tokenizer)
    """
    rows, read = rows_and_settings(dataset, name, config, split, settings)
    opened = open_rows(read, seed) if rows is None else open_in_memory(rows, read, seed)
    return tokenize_rows(opened, tokenizer)


def take_held_out(
    data: TokenData, opened: RawRows | None, tokenizer: Any, *, rows: int, seed: int
) -> tuple[TokenData, TokenData]:
    """Take rows to fit on and held-out rows: those opened, or the last tenth of `data` if none are.

    Rows that were opened come from a `validation` split (`open_held_out`).

    Returns:
        `(fitting rows, held-out rows)`, the latter at most `rows` many, drawn with the seed.

    Raises:
        DataError: there are too few rows to hold any out.
    """
    if opened is not None:
        return data, _tokenize(opened, tokenizer)
    fitting, held_out = split_held_out(data)
    logger.info(
        "no validation split: the last %d of %d rows are held out", len(held_out), len(data)
    )
    return fitting, held_out.sample(rows, seed)


def load_prompts(path: str | Path, tokenizer: Any, *, max_length: int = 512) -> TokenData:
    """One prompt per line, every token but the first scored; empty lines are skipped.

    Raises:
        DataError: the file is missing, empty or has nothing to score.
    """
    return tokenize_rows(open_prompts(path, max_length=max_length), tokenizer)


def tokenize_rows(raw: RawRows, tokenizer: Any) -> TokenData:
    """Tokenise rows that were opened, and log how many there are.

    Raises:
        DataError: nothing is left to score.
    """
    data = _tokenize(raw, tokenizer)
    logger.info(
        "%s: %d rows, %d tokens, %d scored",
        data.name,
        len(data),
        data.num_tokens,
        data.num_target_tokens,
    )
    if data.truncated:
        longest = raw.config.max_length
        logger.warning("%s: %d rows were cut to %d tokens", data.name, data.truncated, longest)
    if data.unscored:
        logger.info("%s: %d rows left out, nothing to score", data.name, data.unscored)
    if data.unmatched:
        logger.info(
            "%s: %d rows left out, for which this tokenizer has no words or no counterfactual "
            "prompt as long",
            data.name,
            data.unmatched,
        )
    return data


def _tokenize(raw: RawRows, tokenizer: Any) -> TokenData:
    if raw.task is not None:
        return _tokenize_task(raw, raw.task, tokenizer)
    config = raw.config
    columns = raw.columns
    if "text" in columns:
        return tokenize_texts(
            columns["text"], tokenizer, max_length=config.max_length, name=raw.name
        )
    return tokenize_pairs(
        list(zip(columns["prompt"], columns["target"], strict=True)),
        tokenizer,
        max_length=config.max_length,
        separator=config.separator,
        chat_template=config.chat_template,
        corrupted=columns.get("corrupted"),
        foils=columns.get("foil"),
        name=raw.name,
    )


def _tokenize_task(raw: RawRows, split: TaskSplit, tokenizer: Any) -> TokenData:
    """Make the rows of a task; corrupted prompts and foils come with them whatever is measured."""
    config = raw.config
    made = split.rows(tokenizer)
    drawn = [made[i] for i in draw(len(made), config.limit, split.seed)]
    rows = [row for row in drawn if row is not None]
    data = tokenize_pairs(
        [(row.prompt, row.target) for row in rows],
        tokenizer,
        max_length=config.max_length,
        separator="" if split.task.goes_on else config.separator,
        chat_template=config.chat_template,
        corrupted=[row.corrupted for row in rows],
        foils=[row.foil for row in rows],
        matched=True,
        name=raw.name,
    )
    return replace(data, unmatched=data.unmatched + len(drawn) - len(rows))

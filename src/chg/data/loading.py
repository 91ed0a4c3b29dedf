"""From a dataset's name to token rows: read, choose columns, drop what is empty, tokenise once."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from chg.config import DataConfig
from chg.data.sources import SplitNotFoundError, read_rows, resolve_split
from chg.data.tokens import TokenData, tokenize_pairs, tokenize_texts
from chg.errors import DataError

if TYPE_CHECKING:
    from datasets import Dataset

logger = logging.getLogger(__name__)


CORRUPTED = "corrupted"
"""The usual name of a column of counterfactual prompts."""

HELD_OUT_SHARE = 0.1
"""Share of the rows kept out of fitting where the data has no validation split."""


def load_data(
    dataset: str | DataConfig,
    tokenizer: Any,
    *,
    config: str | None = None,
    split: str = "train",
    seed: int = 42,
    **settings: Any,
) -> TokenData:
    """Load and tokenise rows.

    Args:
        dataset: a name (hub, local path, `builtin:...`) or a full `DataConfig`.
        tokenizer: a transformers tokenizer.
        config: configuration of the dataset, if it has several.
        split: split with optional slice, or `auto`.
        seed: draws the rows where `limit` asks for fewer than there are.
        settings: further fields of `DataConfig`, such as `limit=` or `prompt_column=`.

    Raises:
        DataError: the data cannot be loaded, lacks a column, or has nothing to score.

    Example:
        >>> data = load_data("wikitext", tokenizer, config="wikitext-2-raw-v1", split="train[:1%]")
    """
    if isinstance(dataset, str):
        dataset = DataConfig(
            dataset=dataset, dataset_config=config, dataset_split=split, **settings
        )
    rows, split = resolve_split(dataset.dataset, dataset.resolved_config, dataset.dataset_split)
    name = dataset_name(dataset, split)
    if len(rows) == 0:
        raise DataError(f"{name} has no rows")
    data = _tokenize(rows, dataset, tokenizer, seed, name)
    _report(data, dataset.max_length)
    return data


def load_held_out(
    config: DataConfig, data: TokenData, tokenizer: Any, *, rows: int, seed: int
) -> tuple[TokenData, TokenData]:
    """Rows to fit on and held-out rows to measure on.

    Held-out rows come from the `validation` split; where there is none (or it is what is being
    fitted), the last tenth of the rows is held out of fitting.

    Returns:
        `(fitting rows, held-out rows)`, the latter at most `rows` many, drawn with the seed.

    Raises:
        DataError: there are too few rows to hold any out.
    """
    if not config.dataset_split.startswith("validation"):
        try:
            held_out = read_rows(config.dataset, config.resolved_config, "validation")
            # As many as could be wanted are tokenised, not a whole validation split.
            limited = DataConfig(**{**vars(config), "limit": rows})
            name = dataset_name(config, "validation")
            return data, _tokenize(held_out, limited, tokenizer, seed, name)
        except SplitNotFoundError:
            pass
    if len(data) < 2:
        raise DataError(f"{data.name} has {len(data)} row; at least 2 are needed to hold one out")
    cut = len(data) - max(1, int(len(data) * HELD_OUT_SHARE))
    logger.info(
        "no validation split: the last %d of %d rows are held out", len(data) - cut, len(data)
    )
    held_out_data = data.select(range(cut, len(data))).sample(rows, seed)
    return data.select(range(cut)), held_out_data


def load_prompts(path: str | Path, tokenizer: Any, *, max_length: int = 512) -> TokenData:
    """One prompt per line, every token but the first scored; empty lines are skipped.

    Raises:
        DataError: the file is missing, empty or has nothing to score.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"prompts file {path} cannot be read: {error}") from error
    prompts = [line for line in lines if line.strip()]
    if not prompts:
        raise DataError(f"prompts file {path} is empty; write one prompt per line")
    data = tokenize_texts(prompts, tokenizer, max_length=max_length, name=str(path))
    _report(data, max_length)
    return data


def with_corrupted_column(config: DataConfig) -> DataConfig:
    """The same settings, with the column `corrupted` where there is one and no other is named.

    Raises:
        DataError: the data cannot be loaded.
    """
    if config.corrupted_column or config.text_column:
        return config
    rows, _ = resolve_split(config.dataset, config.resolved_config, config.dataset_split)
    paired = config.prompt_column or {"prompt", "target"} <= set(rows.column_names)
    if not paired or CORRUPTED not in rows.column_names:
        return config
    return replace(config, corrupted_column=CORRUPTED)


def dataset_name(config: DataConfig, split: str) -> str:
    """The dataset with its configuration and split: `wikitext/wikitext-2-raw-v1:train`."""
    parts = [config.dataset, *([config.resolved_config] if config.resolved_config else [])]
    return f"{'/'.join(parts)}:{split}"


def _tokenize(rows: Dataset, config: DataConfig, tokenizer: Any, seed: int, name: str) -> TokenData:
    columns = _columns(rows, config, name)
    texts = [strings(rows, column, name) for column in columns]
    kept = [i for i in range(len(rows)) if all(column[i].strip() for column in texts)]
    if not kept:
        raise DataError(f"{name} has nothing to score: all {len(rows)} rows are empty")
    if config.limit and config.limit < len(kept):
        drawn = np.random.default_rng(seed).choice(len(kept), size=config.limit, replace=False)
        kept = [kept[i] for i in sorted(int(d) for d in drawn)]
    if len(columns) == 1:
        chosen = [texts[0][i] for i in kept]
        return tokenize_texts(chosen, tokenizer, max_length=config.max_length, name=name)
    return tokenize_pairs(
        [(texts[0][i], texts[1][i]) for i in kept],
        tokenizer,
        max_length=config.max_length,
        separator=config.separator,
        chat_template=config.chat_template,
        corrupted=[texts[2][i] for i in kept] if config.corrupted_column else None,
        name=name,
    )


def _columns(rows: Dataset, config: DataConfig, name: str) -> tuple[str, ...]:
    """The text column, or those of prompts, targets and corrupted prompts if there are any, given
    or by their usual names."""
    if config.prompt_column and config.target_column:
        wanted: tuple[str, ...] = (config.prompt_column, config.target_column)
    elif config.text_column:
        wanted = (config.text_column,)
    elif {"prompt", "target"} <= set(rows.column_names):
        wanted = ("prompt", "target")
    else:
        wanted = ("text",)
    if config.corrupted_column:
        if len(wanted) == 1:
            raise DataError(
                f"{name} is plain text; --corrupted_column goes with prompts and targets, from "
                "--prompt_column and --target_column"
            )
        wanted += (config.corrupted_column,)
    missing = [column for column in wanted if column not in rows.column_names]
    if missing:
        raise DataError(
            f"{name} has no column {', '.join(map(repr, missing))}; it has "
            f"{', '.join(rows.column_names)}. Choose with --text_column, or with --prompt_column "
            "and --target_column (and --corrupted_column)"
        )
    return wanted


def strings(rows: Dataset, column: str, name: str) -> Sequence[str]:
    """A column as text, empty where a row has nothing.

    Raises:
        DataError: it holds something else.
    """
    values = list(rows[column])
    for value in values:
        if value is not None and not isinstance(value, str | int | float):
            raise DataError(f"column {column!r} of {name} holds a {type(value).__name__}, not text")
    return ["" if value is None else str(value) for value in values]


def _report(data: TokenData, max_length: int) -> None:
    logger.info(
        "%s: %d rows, %d tokens, %d scored",
        data.name,
        len(data),
        data.num_tokens,
        data.num_target_tokens,
    )
    if data.truncated:
        logger.warning("%s: %d rows were cut to %d tokens", data.name, data.truncated, max_length)
    if data.unscored:
        logger.info("%s: %d rows left out, nothing to score", data.name, data.unscored)

"""Rows of text: opened, their columns checked, drawn. No tokenizer is needed yet, and so no model.

Bad data is refused here, before anything that takes long is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

import numpy as np

from chg.config import DataConfig
from chg.data.sources import SplitNotFoundError, read_rows, resolve_split
from chg.data.task_split import TaskSplit, is_task, open_task
from chg.errors import DataError, reason
from chg.files import read_text

if TYPE_CHECKING:
    from datasets import Dataset
    from typing_extensions import Self


Column = Literal["text", "prompt", "target", "corrupted", "foil"]
"""Meaning of a column, and its usual name."""

HELD_OUT_SHARE = 0.1
"""Share of the rows kept out of fitting where the data has no validation split."""


@dataclass(frozen=True)
class RawRows:
    """Rows of text that have something to score, with the settings to tokenise them by."""

    name: str
    config: DataConfig
    columns: Mapping[Column, Sequence[str]]
    """Plain text; or prompts, targets and, where they are read, corrupted prompts and foils."""
    task: TaskSplit | None = None
    """The split of a task, whose rows are made in words of the tokenizer, in place of `columns`."""

    def cut_to(self, max_length: int | None) -> RawRows:
        """The same rows, to be cut to this many tokens if that is less."""
        if max_length is None or max_length >= self.config.max_length:
            return self
        return replace(self, config=replace(self.config, max_length=max_length))


def open_rows(config: DataConfig, seed: int) -> RawRows:
    """Read rows, choose their columns, leave out empty ones, and draw as many as are wanted.

    Raises:
        DataError: the data cannot be loaded, lacks a column, or has nothing to score.
    """
    if is_task(config):
        task = open_task(config, seed)
        return RawRows(dataset_name(config, task.split), config, {}, task)
    rows, split = resolve_split(config.dataset, config.resolved_config, config.dataset_split)
    return _chosen(rows, config, dataset_name(config, split), seed)


def open_in_memory(rows: Dataset, config: DataConfig, seed: int) -> RawRows:
    """Choose among rows that are in memory as `open_rows` does; `config.dataset` names them.

    Raises:
        DataError: a column is missing, or there is nothing to score.
    """
    return _chosen(rows, config, config.dataset, seed)


def open_held_out(config: DataConfig, *, rows: int, seed: int) -> RawRows | None:
    """Read the `validation` split; None where there is none, or it is what is being fitted.

    Raises:
        DataError: the split lacks a column, or has nothing to score.
    """
    if is_task(config):
        if config.dataset_split.startswith("validation"):
            return None
        return open_rows(replace(config, dataset_split="validation", limit=rows), seed)
    held_out = read_validation(config)
    if held_out is None:
        return None
    # As many as could be wanted are tokenised, not a whole validation split.
    name = dataset_name(config, "validation")
    return _chosen(held_out, replace(config, limit=rows), name, seed)


def open_prompts(path: str | Path, *, max_length: int = 512) -> RawRows:
    """Read one prompt per line; empty lines are skipped.

    Raises:
        DataError: the file is missing or empty.
    """
    path = Path(path)
    try:
        lines = read_text(path).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"prompts file {path} cannot be read: {reason(error)}") from error
    prompts = [line for line in lines if line.strip()]
    if not prompts:
        raise DataError(f"prompts file {path} is empty; write one prompt per line")
    return RawRows(
        str(path), DataConfig(dataset=str(path), max_length=max_length), {"text": prompts}
    )


def with_column(config: DataConfig, column: Literal["corrupted", "foil"]) -> DataConfig:
    """The same settings, with a column by its usual name where there is one and none is named.

    Raises:
        DataError: the data cannot be loaded.
    """
    setting = f"{column}_column"
    if getattr(config, setting) or config.text_column:
        return config
    named: dict[str, Any] = {setting: column}
    if is_task(config):
        return replace(config, **named)
    rows, _ = resolve_split(config.dataset, config.resolved_config, config.dataset_split)
    paired = config.prompt_column or {"prompt", "target"} <= set(rows.column_names)
    if not paired or column not in rows.column_names:
        return config
    return replace(config, **named)


def dataset_name(config: DataConfig, split: str) -> str:
    """The dataset with its configuration and split: `wikitext/wikitext-2-raw-v1:train`."""
    parts = [config.dataset, *([config.resolved_config] if config.resolved_config else [])]
    return f"{'/'.join(parts)}:{split}"


def read_validation(config: DataConfig) -> Dataset | None:
    """Load the `validation` split; None where there is none, or it is what is being fitted."""
    if config.dataset_split.startswith("validation"):
        return None
    try:
        return read_rows(config.dataset, config.resolved_config, "validation")
    except SplitNotFoundError:
        return None


def strings(rows: Dataset, column: str, name: str) -> Sequence[str]:
    """A column as text, empty where a row has nothing.

    Raises:
        DataError: it holds something else.
    """
    kind = type(rows.features[column]).__name__
    if kind not in ("Value", "ClassLabel"):
        raise DataError(f"column {column!r} of {name} holds {kind}, not text")
    try:
        values = list(rows[column])
    except UnicodeDecodeError as error:
        raise DataError(f"column {column!r} of {name} holds bytes that are not UTF-8") from error
    for value in values:
        if value is not None and not isinstance(value, str | int | float):
            raise DataError(f"column {column!r} of {name} holds a {type(value).__name__}, not text")
    return ["" if value is None else str(value) for value in values]


def draw(count: int, limit: int | None, seed: int) -> list[int]:
    """Indices of at most `limit` of `count` things, drawn with the seed, ascending; 0 is all."""
    if not limit or limit >= count:
        return list(range(count))
    drawn = np.random.default_rng(seed).choice(count, size=limit, replace=False)
    return sorted(int(i) for i in drawn)


class Selectable(Protocol):
    """A named list of rows that some can be taken of."""

    @property
    def name(self) -> str:
        """The data's name, for messages."""

    def __len__(self) -> int: ...

    def select(self, indices: Sequence[int]) -> Self:
        """Some of the rows, in the order given."""


Rows = TypeVar("Rows", bound=Selectable)


def split_held_out(data: Rows, order: Sequence[int] | None = None) -> tuple[Rows, Rows]:
    """Hold a tenth of the rows out of fitting: the last ones, in the order given if there is one.

    Returns:
        `(fitting rows, held-out rows)`, each in the order of the data.

    Raises:
        DataError: there is a single row.
    """
    if len(data) < 2:
        raise DataError(f"{data.name} has {len(data)} row; at least 2 are needed to hold one out")
    order = range(len(data)) if order is None else order
    cut = len(data) - max(1, int(len(data) * HELD_OUT_SHARE))
    return data.select(sorted(order[:cut])), data.select(sorted(order[cut:]))


def _chosen(rows: Dataset, config: DataConfig, name: str, seed: int) -> RawRows:
    if len(rows) == 0:
        raise DataError(f"{name} has no rows")
    names = _column_names(rows, config, name)
    columns = {meaning: strings(rows, column, name) for meaning, column in names.items()}
    complete = [
        i for i in range(len(rows)) if all(column[i].strip() for column in columns.values())
    ]
    if not complete:
        raise DataError(f"{name} has nothing to score: all {len(rows)} rows are empty")
    chosen = [complete[i] for i in draw(len(complete), config.limit, seed)]
    return RawRows(name, config, {k: [column[i] for i in chosen] for k, column in columns.items()})


def _column_names(rows: Dataset, config: DataConfig, name: str) -> dict[Column, str]:
    """The text column, or those of prompts and targets, given or by their usual names, with those
    of corrupted prompts and foils where they are given."""
    wanted: dict[Column, str] = {"text": config.text_column or "text"}
    if config.prompt_column and config.target_column:
        wanted = {"prompt": config.prompt_column, "target": config.target_column}
    elif not config.text_column and {"prompt", "target"} <= set(rows.column_names):
        wanted = {"prompt": "prompt", "target": "target"}
    further: dict[Column, str | None] = {
        "corrupted": config.corrupted_column,
        "foil": config.foil_column,
    }
    for meaning, column in further.items():
        if column is None:
            continue
        if "text" in wanted:
            raise DataError(
                f"{name} is plain text; --{meaning}_column goes with prompts and targets, from "
                "--prompt_column and --target_column"
            )
        wanted[meaning] = column
    missing = [column for column in wanted.values() if column not in rows.column_names]
    if missing:
        raise DataError(
            f"{name} has no column {', '.join(map(repr, missing))}; it has "
            f"{', '.join(rows.column_names)}. Choose with --text_column, or with --prompt_column "
            "and --target_column (and --corrupted_column, --foil_column)"
        )
    return wanted

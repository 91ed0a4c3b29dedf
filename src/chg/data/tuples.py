"""Matched tuples: each row asks for the same thing twice, once to be retained and once forgotten.

1. Open: read the four columns and the task of every row; rows with an empty column are left out.
2. Tokenise either side; row `i` of one belongs to row `i` of the other from here on.
3. Rows to fit on and to measure on are kept apart, and a task held out is in neither: its own rows
   say whether what was fitted carries over to it (paper, figure 5).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from chg.config import DataConfig
from chg.data.memory import AnyRows, rows_and_settings
from chg.data.rows import dataset_name, draw, read_validation, split_held_out, strings
from chg.data.sources import resolve_split
from chg.data.tokenizing import tokenize_pairs
from chg.data.tokens import TokenData
from chg.errors import DataError

if TYPE_CHECKING:
    from datasets import Dataset

logger = logging.getLogger(__name__)


TUPLE_COLUMNS = ("retain_prompt", "retain_target", "forget_prompt", "forget_target")


@dataclass(frozen=True)
class RawTuples:
    """Matched tuples of text without an empty column, with the settings to tokenise them by."""

    name: str
    config: DataConfig
    columns: tuple[Sequence[str], ...]
    """Those of `TUPLE_COLUMNS`, in their order."""
    tasks: tuple[str, ...]
    """The task of each row; empty where the data has no such column."""
    empty: int
    """Rows left out because a column of theirs is empty."""
    count: int
    """Rows that were read."""

    def cut_to(self, max_length: int | None) -> RawTuples:
        """The same tuples, either side to be cut to this many tokens if that is less."""
        if max_length is None or max_length >= self.config.max_length:
            return self
        return replace(self, config=replace(self.config, max_length=max_length))


@dataclass(frozen=True)
class MatchedData:
    """Two sides of as many rows; row `i` of one is paired with row `i` of the other."""

    name: str
    retain: TokenData
    forget: TokenData
    tasks: tuple[str, ...]
    """The task of each row; empty where the data has no such column."""

    def __repr__(self) -> str:
        return f"<MatchedData {self.name!r}: {len(self):,} tuples, {len(self.task_names)} tasks>"

    def __post_init__(self) -> None:
        if len(self.retain) != len(self.forget):
            raise DataError(
                f"{self.name} does not match: {len(self.retain)} rows to retain, "
                f"{len(self.forget)} to forget; give as many of both, pair by pair"
            )

    def __len__(self) -> int:
        return len(self.retain)

    @property
    def task_names(self) -> tuple[str, ...]:
        """Every task once, in alphabetic order."""
        return tuple(sorted(set(self.tasks)))

    def select(self, indices: Sequence[int]) -> MatchedData:
        """Some of the rows, in the order given."""
        tasks = tuple(self.tasks[i] for i in indices) if self.tasks else ()
        return MatchedData(
            self.name, self.retain.select(indices), self.forget.select(indices), tasks
        )

    def of_task(self, task: str) -> MatchedData:
        """The rows of one task.

        Raises:
            DataError: there are none.
        """
        chosen = [i for i, its_task in enumerate(self.tasks) if its_task == task]
        if not chosen:
            raise DataError(
                f"{self.name} has no rows of task {task!r}; it has {', '.join(self.task_names)}"
            )
        return self.select(chosen)

    def without_task(self, task: str) -> MatchedData:
        """The rows of all other tasks.

        Raises:
            DataError: there are none.
        """
        chosen = [i for i, its_task in enumerate(self.tasks) if its_task != task]
        if not chosen:
            raise DataError(f"{self.name} has no task but {task!r}; nothing is left to fit")
        return self.select(chosen)


@dataclass(frozen=True)
class MatchedSplit:
    """Tuples to fit on, and tuples to measure on afterwards."""

    fitting: MatchedData
    held_out: MatchedData
    """Rows that were not fitted, of tasks that were."""
    task: str | None = None
    """The task that was left out of both, if one was."""
    unseen: MatchedData | None = None
    """Its rows."""


def load_tuples(
    dataset: AnyRows,
    tokenizer: Any,
    *,
    name: str | None = None,
    config: str | None = None,
    split: str = "train",
    task_column: str = "task",
    seed: int = 42,
    **settings: Any,
) -> MatchedData:
    """Load and tokenise matched tuples.

    Args:
        dataset: a name (hub, local path, `builtin:format`) or a full `DataConfig`, whose columns
            are not read: tuples have the columns of `TUPLE_COLUMNS`; or rows in memory, as
            `load_data` takes them.
        tokenizer: a transformers tokenizer.
        name: the name that results give to rows in memory.
        config: configuration of the dataset, if it has several.
        split: split with optional slice, or `auto`.
        task_column: the column that says which task a row is of; there need not be one.
        seed: draws the rows where `limit` asks for fewer than there are.
        settings: further fields of `DataConfig`, such as `limit=`.

    Raises:
        DataError: the data cannot be loaded, lacks a column, or has nothing to score.
    """
    rows, read = rows_and_settings(dataset, name, config, split, settings)
    if rows is None:
        return tokenize_tuples(open_tuples(read, task_column, seed), tokenizer)
    return tokenize_tuples(_chosen(rows, read, read.dataset, task_column, seed), tokenizer)


def open_tuples(config: DataConfig, task_column: str, seed: int) -> RawTuples:
    """Read matched tuples, leave out incomplete ones, and draw as many as are wanted.

    Raises:
        DataError: the data cannot be loaded, lacks a column, or has nothing to score.
    """
    rows, split = resolve_split(config.dataset, config.resolved_config, config.dataset_split)
    return _chosen(rows, config, dataset_name(config, split), task_column, seed)


def open_held_out_tuples(
    config: DataConfig, tasks: Sequence[str], *, rows: int, seed: int, task_column: str
) -> RawTuples | None:
    """Read the `validation` split; None where there is none, or it is what is being fitted.

    `rows` for each of the tasks that are fitted is about as many as are drawn.

    Raises:
        DataError: the split lacks a column, or has nothing to score.
    """
    held_out = read_validation(config)
    if held_out is None:
        return None
    limited = replace(config, limit=rows * max(1, len(set(tasks))))
    return _chosen(held_out, limited, dataset_name(config, "validation"), task_column, seed)


def tokenize_tuples(raw: RawTuples, tokenizer: Any) -> MatchedData:
    """Tokenise tuples that were opened, and log how many there are.

    Raises:
        DataError: a target adds no token to its prompt.
    """
    data = tokenize_held_out_tuples(raw, tokenizer)
    logger.info("%s: %d matched tuples", data.name, len(data))
    return data


def tokenize_held_out_tuples(raw: RawTuples, tokenizer: Any) -> MatchedData:
    """Tokenise tuples that were opened.

    Raises:
        DataError: a target adds no token to its prompt.
    """
    if raw.empty:
        logger.warning(
            "%s: %d of %d tuples left out, a column is empty", raw.name, raw.empty, raw.count
        )
    retain_prompts, retain_targets, forget_prompts, forget_targets = raw.columns
    retain = list(zip(retain_prompts, retain_targets, strict=True))
    forget = list(zip(forget_prompts, forget_targets, strict=True))
    return MatchedData(
        raw.name,
        _side(retain, tokenizer, raw.config, f"{raw.name} (retain)"),
        _side(forget, tokenizer, raw.config, f"{raw.name} (forget)"),
        raw.tasks,
    )


def split_tuples(
    data: MatchedData,
    validation: MatchedData | None,
    *,
    hold_out: str | None = None,
    seed: int = 42,
) -> MatchedSplit:
    """Keep rows, and a task, out of fitting.

    Args:
        data: what there is to fit on.
        validation: what there is to measure on; if None, a tenth of `data` drawn with the seed,
            and all of its rows of the task held out.
        hold_out: a task to leave out of fitting.
        seed: draws the tenth.

    Raises:
        DataError: there is no such task, or nothing is left.
    """
    unseen = None
    if hold_out is not None:
        if not data.tasks:
            raise DataError(
                f"{data.name} does not say which task a row is of; name its column of tasks with "
                "--task_column"
            )
        unseen = (data if validation is None else validation).of_task(hold_out)
        data = data.without_task(hold_out)
        if validation is not None:
            validation = validation.without_task(hold_out)
    if validation is not None:
        return MatchedSplit(data, validation, hold_out, unseen)
    order = np.random.default_rng(seed).permutation(len(data)).tolist()
    fitting, held_out = split_held_out(data, order[::-1])
    logger.info("no validation split: %d of %d tuples are held out", len(held_out), len(data))
    return MatchedSplit(fitting, held_out, hold_out, unseen)


def _chosen(rows: Dataset, config: DataConfig, name: str, task_column: str, seed: int) -> RawTuples:
    missing = [column for column in TUPLE_COLUMNS if column not in rows.column_names]
    if missing:
        raise DataError(
            f"{name} has no column {', '.join(map(repr, missing))}; matched tuples need "
            f"{', '.join(TUPLE_COLUMNS)}, and it has {', '.join(rows.column_names)}"
        )
    columns = [strings(rows, column, name) for column in TUPLE_COLUMNS]
    complete = [i for i in range(len(rows)) if all(column[i].strip() for column in columns)]
    if not complete:
        raise DataError(f"{name} has nothing to score: all {len(rows)} tuples have an empty column")
    chosen = [complete[i] for i in draw(len(complete), config.limit, seed)]
    tasks = strings(rows, task_column, name) if task_column in rows.column_names else []
    return RawTuples(
        name,
        config,
        tuple([column[i] for i in chosen] for column in columns),
        tuple(tasks[i] for i in chosen) if tasks else (),
        empty=len(rows) - len(complete),
        count=len(rows),
    )


def _side(pairs: list[tuple[str, str]], tokenizer: Any, config: DataConfig, name: str) -> TokenData:
    side = tokenize_pairs(
        pairs,
        tokenizer,
        max_length=config.max_length,
        separator=config.separator,
        chat_template=config.chat_template,
        name=name,
    )
    if side.unscored:
        raise DataError(
            f"{name}: {side.unscored} targets add no token to their prompt, so nothing of them can "
            "be scored and the tuples would no longer match; take them out"
        )
    if side.truncated:
        logger.warning("%s: %d rows were cut to %d tokens", name, side.truncated, config.max_length)
    return side

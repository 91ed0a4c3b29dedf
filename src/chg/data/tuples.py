"""Matched tuples: each row asks for the same thing twice, once to be retained and once forgotten.

1. Read the four columns and the task of every row; rows with an empty column are left out.
2. Tokenise either side; row `i` of one belongs to row `i` of the other from here on.
3. Rows to fit on and to measure on are kept apart, and a task held out is in neither: its own rows
   say whether what was fitted carries over to it (paper, figure 5).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from chg.config import DataConfig
from chg.data.loading import HELD_OUT_SHARE, dataset_name, strings
from chg.data.sources import SplitNotFoundError, read_rows, resolve_split
from chg.data.tokens import TokenData, tokenize_pairs
from chg.errors import DataError

if TYPE_CHECKING:
    from datasets import Dataset

logger = logging.getLogger(__name__)


TUPLE_COLUMNS = ("retain_prompt", "retain_target", "forget_prompt", "forget_target")


@dataclass(frozen=True)
class MatchedData:
    """Two sides of as many rows; row `i` of one is paired with row `i` of the other."""

    name: str
    retain: TokenData
    forget: TokenData
    tasks: tuple[str, ...]
    """The task of each row; empty where the data has no such column."""

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
    """What is fitted, and what is measured afterwards."""

    fitting: MatchedData
    held_out: MatchedData
    """Rows that were not fitted, of tasks that were."""
    task: str | None = None
    """The task that was left out of both, if one was."""
    unseen: MatchedData | None = None
    """Its rows."""


def load_tuples(
    dataset: str | DataConfig,
    tokenizer: Any,
    *,
    config: str | None = None,
    split: str = "train",
    task_column: str = "task",
    seed: int = 42,
    **settings: Any,
) -> MatchedData:
    """Load and tokenise matched tuples.

    Args:
        dataset: a name (hub, local path, `builtin:format`) or a full `DataConfig`, whose columns
            are not read: tuples have the columns of `TUPLE_COLUMNS`.
        tokenizer: a transformers tokenizer.
        config: configuration of the dataset, if it has several.
        split: split with optional slice, or `auto`.
        task_column: the column that says which task a row is of; there need not be one.
        seed: draws the rows where `limit` asks for fewer than there are.
        settings: further fields of `DataConfig`, such as `limit=`.

    Raises:
        DataError: the data cannot be loaded, lacks a column, or has nothing to score.
    """
    if isinstance(dataset, str):
        dataset = DataConfig(
            dataset=dataset, dataset_config=config, dataset_split=split, **settings
        )
    rows, split = resolve_split(dataset.dataset, dataset.resolved_config, dataset.dataset_split)
    data = _tokenize(rows, dataset, tokenizer, seed, split, task_column)
    logger.info("%s: %d matched tuples", data.name, len(data))
    return data


def load_held_out_tuples(
    config: DataConfig, data: MatchedData, tokenizer: Any, *, rows: int, seed: int, task_column: str
) -> MatchedData | None:
    """The tuples of the `validation` split; None where there is none, or it is what is fitted.

    `rows` of each task is about as many as are tokenised.
    """
    if config.dataset_split.startswith("validation"):
        return None
    try:
        held_out = read_rows(config.dataset, config.resolved_config, "validation")
    except SplitNotFoundError:
        return None
    limited = DataConfig(**{**vars(config), "limit": rows * max(1, len(data.task_names))})
    return _tokenize(held_out, limited, tokenizer, seed, "validation", task_column)


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
    if len(data) < 2:
        raise DataError(f"{data.name} has 1 tuple to fit; at least 2 are needed to hold one out")
    order = np.random.default_rng(seed).permutation(len(data)).tolist()
    held = max(1, int(len(data) * HELD_OUT_SHARE))
    logger.info("no validation split: %d of %d tuples are held out", held, len(data))
    fitting, held_out = (data.select(sorted(part)) for part in (order[held:], order[:held]))
    return MatchedSplit(fitting, held_out, hold_out, unseen)


def _tokenize(
    rows: Dataset, config: DataConfig, tokenizer: Any, seed: int, split: str, task_column: str
) -> MatchedData:
    name = dataset_name(config, split)
    missing = [column for column in TUPLE_COLUMNS if column not in rows.column_names]
    if missing:
        raise DataError(
            f"{name} has no column {', '.join(map(repr, missing))}; matched tuples need "
            f"{', '.join(TUPLE_COLUMNS)}, and it has {', '.join(rows.column_names)}"
        )
    texts = [strings(rows, column, name) for column in TUPLE_COLUMNS]
    kept = [i for i in range(len(rows)) if all(column[i].strip() for column in texts)]
    if not kept:
        raise DataError(f"{name} has nothing to score: all {len(rows)} tuples have an empty column")
    if len(kept) < len(rows):
        logger.warning(
            "%s: %d of %d tuples left out, a column is empty",
            name,
            len(rows) - len(kept),
            len(rows),
        )
    if config.limit and config.limit < len(kept):
        drawn = np.random.default_rng(seed).choice(len(kept), size=config.limit, replace=False)
        kept = [kept[i] for i in sorted(drawn.tolist())]
    tasks = strings(rows, task_column, name) if task_column in rows.column_names else []
    retain, forget = (
        _side([(texts[j][i], texts[j + 1][i]) for i in kept], tokenizer, config, f"{name} ({side})")
        for j, side in ((0, "retain"), (2, "forget"))
    )
    return MatchedData(name, retain, forget, tuple(tasks[i] for i in kept) if tasks else ())


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

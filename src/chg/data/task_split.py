"""A split of a task: checked when it is opened, and made in words of the tokenizer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from chg.config import DataConfig
from chg.data.sources import TASK_PREFIX, base_split, places_in
from chg.data.vocabulary import TokenizerWords
from chg.errors import DataError
from chg.task_rows import SPLITS, Task, TaskRow, find_task

OWN_COLUMNS = {
    "text_column": None,
    "prompt_column": "prompt",
    "target_column": "target",
    "corrupted_column": "corrupted",
    "foil_column": "foil",
}
"""setting -> the column of a task that it can name"""


@dataclass(frozen=True)
class TaskSplit:
    """A split of a task, with a slice or without."""

    task: Task
    config: str | None
    split: str
    seed: int
    """Draws the rows."""

    def rows(self, tokenizer: Any) -> list[TaskRow | None]:
        """Make the rows, None for each that the tokenizer's words cannot give."""
        words = TokenizerWords(tokenizer)
        rows = self.task.rows(self.config, base_split(self.split), words, self.seed)
        return [rows[place] for place in places_in(self.split, len(rows))]


def is_task(config: DataConfig) -> bool:
    """Tell whether the rows are those of a task."""
    return str(config.dataset).startswith(TASK_PREFIX)


def open_task(config: DataConfig, seed: int) -> TaskSplit:
    """Look up a task, and see that it has the configuration, the split and the columns.

    Raises:
        DataError: it has not.
    """
    split = "validation" if config.dataset_split == "auto" else config.dataset_split
    name = config.dataset.removeprefix(TASK_PREFIX)
    task = find_task(name, config.dataset_config, base_split(split))
    places_in(split, SPLITS[base_split(split)])
    for setting, column in OWN_COLUMNS.items():
        if getattr(config, setting) not in (None, column):
            raise DataError(
                f"{config.dataset} has the columns prompt, target, foil and corrupted; leave out "
                f"--{setting} {getattr(config, setting)}"
            )
    return TaskSplit(task, config.dataset_config, split, seed)

"""The tasks by name."""

from __future__ import annotations

from collections.abc import Collection

from chg.errors import DataError, perhaps
from chg.task_rows.agreement import agreement_row
from chg.task_rows.greater_than import greater_than_row
from chg.task_rows.induction import induction_row
from chg.task_rows.ioi import ORDERS, ioi_row
from chg.task_rows.rows import SPLITS
from chg.task_rows.task import Task
from chg.task_rows.word_pairs import (
    CONFIGURATIONS,
    DEFAULT,
    antonym_row,
    capital_row,
    french_row,
    past_row,
    plural_row,
)

_TASKS = (
    Task(
        "ioi",
        "Say who is given something: of two names, the one that does not come again.",
        ioi_row,
        configurations=ORDERS,
    ),
    *(
        Task(name, description, maker, configurations=CONFIGURATIONS, default=DEFAULT)
        for name, description, maker in (
            ("antonym", "Give the opposite of a word.", antonym_row),
            ("country-capital", "Give the capital of a country.", capital_row),
            ("english-french", "Give the French word for an English one.", french_row),
            ("present-past", "Give the past tense of a verb.", past_row),
            ("singular-plural", "Give the plural of a noun.", plural_row),
        )
    ),
    Task(
        "induction",
        "Go on with random words that are repeated, as they came the first time.",
        induction_row,
    ),
    Task(
        "greater-than",
        "Give a later year of the same century than the one before.",
        greater_than_row,
        goes_on=True,
    ),
    Task(
        "subject-verb",
        "Give the verb that agrees with its subject, past a noun of the other number.",
        agreement_row,
    ),
)


def tasks() -> dict[str, Task]:
    """List the tasks that any model can be asked, by name.

    Example:
        >>> chg.tasks()["antonym"].example.target
        'give'
    """
    return {task.name: task for task in _TASKS}


def find_task(name: str, config: str | None, split: str) -> Task:
    """Look up a task, and see that it has the configuration and the split.

    Raises:
        DataError: there is no such task, configuration or split.
    """
    known = tasks()
    if name not in known:
        raise DataError(f"there is no task {name!r}{_nearest(name, known)}")
    task = known[name]
    if config is not None and config not in task.configurations:
        if not task.configurations:
            raise DataError(f"task:{name} has no configurations; leave out {config!r}")
        raise DataError(
            f"task:{name} has no configuration {config!r}{_nearest(config, task.configurations)}"
        )
    if split not in SPLITS:
        raise DataError(f"task:{name} has no split {split!r}{_nearest(split, SPLITS)}")
    return task


def _nearest(name: str, choices: Collection[str]) -> str:
    """The second half of a sentence about a name that is none: the nearest, and all there are."""
    return f"{perhaps(name, choices)}; choose one of {', '.join(choices)}"

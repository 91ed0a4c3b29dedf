"""The tasks by name: what each asks, in which configurations, and the rows of its splits."""

from __future__ import annotations

import difflib
import random
from collections.abc import Sequence
from dataclasses import dataclass

from chg.errors import DataError
from chg.task_rows.agreement import agreement_row
from chg.task_rows.greater_than import greater_than_row
from chg.task_rows.induction import induction_row
from chg.task_rows.ioi import ORDERS, ioi_row
from chg.task_rows.rows import SPLITS, Draw, Maker, TaskRow, Vocabulary
from chg.task_rows.word_pairs import (
    CONFIGURATIONS,
    DEFAULT,
    antonym_row,
    capital_row,
    french_row,
    past_row,
    plural_row,
)

MOST_MISSES = 1000
"""Draws in a row that give a prompt already drawn, before a split counts as exhausted."""


@dataclass(frozen=True)
class Task:
    """A task that asks the same of any model, in words of its tokenizer."""

    name: str
    """Its name after `task:`."""
    description: str
    """What it asks, in a sentence."""
    make: Maker
    """Draws a row."""
    configurations: tuple[str, ...] = ()
    """Forms of it, for `--dataset_config`; empty where there is one form."""
    default: str | None = None
    """The form where none is asked for; None mixes all of them."""
    goes_on: bool = False
    """The target goes on with the prompt's last word: nothing stands between the two."""


@dataclass(frozen=True)
class MadeRows:
    """Rows of a split, and the number of those that the vocabulary could not give."""

    rows: tuple[TaskRow, ...]
    unmatched: int


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

TASKS: dict[str, Task] = {task.name: task for task in _TASKS}


def find_task(name: str, config: str | None, split: str) -> Task:
    """Look up a task, and see that it has the configuration and the split.

    Raises:
        DataError: there is no such task, configuration or split.
    """
    if name not in TASKS:
        raise DataError(f"there is no task {name!r}{_nearest(name, TASKS)}")
    task = TASKS[name]
    if config is not None and config not in task.configurations:
        if not task.configurations:
            raise DataError(f"task:{name} has no configurations; leave out {config!r}")
        raise DataError(
            f"task:{name} has no configuration {config!r}{_nearest(config, task.configurations)}"
        )
    if split not in SPLITS:
        raise DataError(f"task:{name} has no split {split!r}{_nearest(split, SPLITS)}")
    return task


def make_rows(
    task: Task, config: str | None, split: str, vocabulary: Vocabulary, seed: int
) -> MadeRows:
    """Draw the rows of a split, all with different prompts, the same for the same arguments.

    Which prompts are drawn depends on the vocabulary in `induction` alone.
    """
    config = config or task.default
    drawn: dict[str, TaskRow | None] = {}
    number = misses = 0
    while len(drawn) < SPLITS[split] and misses <= MOST_MISSES:
        # A generator for each draw: those after it are the same however much it has drawn.
        rng = random.Random(f"{task.name} {config} {split} {seed} {number}")
        prompt, row = task.make(Draw(config, split, rng, vocabulary))
        misses = misses + 1 if prompt in drawn else 0
        drawn.setdefault(prompt, row)
        number += 1
    rows = tuple(row for row in drawn.values() if row is not None)
    return MadeRows(rows, len(drawn) - len(rows))


def _nearest(name: str, choices: Sequence[str] | dict[str, object]) -> str:
    """The second half of a sentence about a name that is none: the nearest, and all there are."""
    near = difflib.get_close_matches(name, choices, n=1, cutoff=0.4)
    meant = f" (perhaps you meant {near[0]})" if near else ""
    return f"{meant}; choose one of {', '.join(choices)}"

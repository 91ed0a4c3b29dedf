"""Tasks for any tokenizer: rows with a right and a wrong answer and a counterfactual prompt."""

from chg.task_rows.registry import find_task, tasks
from chg.task_rows.rows import SPLITS, TaskRow
from chg.task_rows.task import Task
from chg.task_rows.word_pairs import INSTRUCTION

__all__ = [
    "INSTRUCTION",
    "SPLITS",
    "Task",
    "TaskRow",
    "find_task",
    "tasks",
]

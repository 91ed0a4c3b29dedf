"""Tasks for any tokenizer: rows with a right and a wrong answer and a counterfactual prompt."""

from chg.task_rows.registry import find_task, tasks
from chg.task_rows.rows import SPLITS, TaskRow
from chg.task_rows.task import Task

__all__ = [
    "SPLITS",
    "Task",
    "TaskRow",
    "find_task",
    "tasks",
]

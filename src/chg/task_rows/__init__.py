"""Tasks for any tokenizer: rows with a right and a wrong answer and a counterfactual prompt."""

from chg.task_rows.registry import MadeRows, Task, find_task, make_rows
from chg.task_rows.rows import TaskRow, Vocabulary

__all__ = [
    "MadeRows",
    "Task",
    "TaskRow",
    "Vocabulary",
    "find_task",
    "make_rows",
]

"""The model and the tasks that ship."""

from chg.builtin.tasks import builtin_rows

__all__ = [
    "builtin_rows",
]

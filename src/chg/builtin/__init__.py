"""Model and tasks that ship with chg."""

from chg.builtin.tasks import builtin_rows

__all__ = [
    "builtin_rows",
]

"""Competence of the model, said by every verb before it fits or ablates anything."""

from __future__ import annotations

from typing import Any

from chg.cli.terminal import say
from chg.config import Metric
from chg.data import TokenData
from chg.engine import competence

ROWS = 128
"""Rows on which it is measured at most."""


def say_competence(
    model: Any,
    data: TokenData,
    *,
    batch_size: int,
    metric: Metric = "logprob",
    side: str = "",
) -> dict[str, Any]:
    """Measure whether the model does the task, and say so.

    Args:
        model: the model, ungated.
        data: rows of the task.
        batch_size: rows per forward pass at most.
        metric: what gates are to keep.
        side: what the rows are, where there are several kinds.

    Returns:
        The figures, for the metadata of what is written.
    """
    found = competence(model, data.sample(ROWS, 0), batch_size=batch_size, metric=metric)
    say(f"{side}: {found.sentence}" if side else found.sentence)
    return found.as_dict()

"""Rows scored where a wrong answer parts from the target, for the logit difference."""

from __future__ import annotations

from dataclasses import replace

from chg.config import Metric
from chg.data.tokens import TokenData
from chg.errors import DataError


def score_at_foils(data: TokenData) -> TokenData:
    """Score every row at the first token that target and foil do not share, and there alone.

    What both share before it tells nothing of the choice, and what follows is no longer of one
    context.

    Raises:
        DataError: a row has no foil.
    """
    if not data.has_foils:
        raise DataError(
            f"rows of {data.name} have no wrong answers to hold targets against (--metric "
            'logit_diff); give a column of them, foil_column="foil"'
        )
    places = [row.foil[0] for row in data.rows if row.foil is not None]
    rows = tuple(
        replace(row, scored=tuple(i == place for i in range(len(row.ids))))
        for row, place in zip(data.rows, places, strict=True)
    )
    return replace(data, rows=rows)


def scored_for(data: TokenData, metric: Metric) -> TokenData:
    """Score rows where a metric is measured: at their foils for a logit difference.

    Raises:
        DataError: a row has no foil where one is needed.
    """
    return score_at_foils(data) if metric == "logit_diff" else data

"""Counterfactual rows, whose heads stand in for those of other rows in ablation by resampling."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import replace

import numpy as np

from chg.data.tokens import TokenData
from chg.errors import DataError


def with_partners(data: TokenData, seed: int, among: TokenData | None = None) -> TokenData:
    """Give every row a counterfactual row, whose heads can stand in for its own.

    It is drawn from the rows of equal length, otherwise from those of the nearest length. If every
    row has one already, from a column of corrupted prompts, and `among` is not given, they stay.

    Args:
        data: the rows.
        seed: draws the counterfactual rows.
        among: the rows to draw from, in place of the others of `data`.

    Raises:
        DataError: there is no other row.
    """
    if data.has_references and among is None:
        return data
    pool = data if among is None else among
    from_data = among is None
    if from_data and len(data) == 1:
        raise DataError(
            f"{data.name} has a single row, and --ablation resample needs another one to take "
            "heads from; give more rows or --reference_dataset"
        )
    generator = np.random.default_rng(seed)
    places: dict[int, list[int]] = {}
    for i, row in enumerate(pool.rows):
        places.setdefault(len(row.ids), []).append(i)
    lengths = sorted(places)
    rows = []
    for i, row in enumerate(data.rows):
        chosen = places[_nearest_length(len(row.ids), lengths, places, but_itself=from_data)]
        drawn = chosen[int(generator.integers(len(chosen)))]
        while from_data and drawn == i:
            drawn = chosen[int(generator.integers(len(chosen)))]
        rows.append(replace(row, reference_ids=pool.rows[drawn].ids))
    return replace(data, rows=tuple(rows))


def _nearest_length(
    wanted: int, lengths: list[int], places: dict[int, list[int]], *, but_itself: bool
) -> int:
    """Nearest length of which there is a row, not counting the row itself; of two, the longer."""
    at = bisect_left(lengths, wanted)
    if at < len(lengths) and lengths[at] == wanted:
        if len(places[wanted]) > but_itself:
            return wanted
        near = [*lengths[at + 1 : at + 2], *lengths[max(0, at - 1) : at]]
    else:
        near = [*lengths[at : at + 1], *lengths[max(0, at - 1) : at]]
    return min(near, key=lambda length: abs(length - wanted))

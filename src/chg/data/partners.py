"""Rows whose heads stand in for those of others, as ablation by resampling needs them."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import replace

import numpy as np

from chg.data.tokens import TokenData
from chg.errors import DataError


def with_partners(data: TokenData, seed: int, among: TokenData | None = None) -> TokenData:
    """Give every row another row, whose heads can stand in for its own.

    Drawn from the rows of equal length, otherwise from those of the nearest. Rows that have such a
    reference already, from a column of corrupted prompts, keep it.

    Args:
        data: the rows.
        seed: draws the partners.
        among: the rows to draw from, in place of the others of `data`.

    Raises:
        DataError: there is no other row.
    """
    if data.has_references and among is None:
        return data
    pool = data if among is None else among
    own = among is None
    if own and len(data) == 1:
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
        chosen = places[_length(len(row.ids), lengths, places, own)]
        drawn = chosen[int(generator.integers(len(chosen)))]
        while own and drawn == i:
            drawn = chosen[int(generator.integers(len(chosen)))]
        rows.append(replace(row, reference_ids=pool.rows[drawn].ids))
    return replace(data, rows=tuple(rows))


def _length(wanted: int, lengths: list[int], places: dict[int, list[int]], own: bool) -> int:
    """The nearest length of which there is another row; the longer of two as near."""
    at = bisect_left(lengths, wanted)
    if at < len(lengths) and lengths[at] == wanted:
        if len(places[wanted]) > own:
            return wanted
        near = [*lengths[at + 1 : at + 2], *lengths[max(0, at - 1) : at]]
    else:
        near = [*lengths[at : at + 1], *lengths[max(0, at - 1) : at]]
    return min(near, key=lambda length: abs(length - wanted))

"""Tables as people read them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chg.config import MLP, Unit

if TYPE_CHECKING:
    import pandas as pd


def name_mlps(table: pd.DataFrame, unit: Unit, columns: int) -> pd.DataFrame:
    """Put the name of MLP blocks for their number; tables of other units stay as they are.

    Args:
        table: rows with a `head`, its column in the gate matrix.
        unit: what has a gate.
        columns: number of columns of the gate matrix.
    """
    if unit != "head_and_mlp":
        return table
    return table.assign(head=table["head"].astype(object).where(table["head"] != columns - 1, MLP))

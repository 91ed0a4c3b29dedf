"""Rows that stand in for others."""

from __future__ import annotations

import pytest

from chg.data.partners import with_partners
from chg.data.tokens import TokenData, TokenRow
from chg.errors import DataError


def test_partners_are_other_rows_of_the_nearest_length() -> None:
    def row(*ids: int) -> TokenRow:
        return TokenRow(ids, (False, *[True] * (len(ids) - 1)))

    lengths = [4] * 6 + [2, 9, 10]
    rows = tuple(row(*range(10 * i, 10 * i + n)) for i, n in enumerate(lengths))
    data = TokenData(rows, "rows", 0)
    partners = with_partners(data, 3)
    assert partners == with_partners(data, 3)
    assert with_partners(data, 3) != with_partners(data, 4)
    assert partners.fingerprint != data.fingerprint
    assert with_partners(partners, 5) is partners
    drawn = [len(one.reference_ids or ()) for one in partners.rows]
    assert drawn == [4] * 6 + [4, 10, 9]
    assert all(one.reference_ids != one.ids for one in partners.rows)
    elsewhere = with_partners(data.select([0]), 0, among=data.select([6, 8]))
    assert elsewhere.rows[0].reference_ids == rows[6].ids
    with pytest.raises(DataError, match="single row"):
        with_partners(data.select([0]), 0)

"""Agreement of seeds, on cases whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from chg.results.agreement import agreement_of, rank_correlation


def test_rank_correlation_leaves_out_what_is_no_number() -> None:
    left = np.array([[1.0, 2.0, np.nan], [4.0, 3.0, 9.0]])
    right = np.array([[10.0, 30.0, 5.0], [20.0, np.nan, 40.0]])
    expected = spearmanr([1, 2, 4, 9], [10, 30, 20, 40]).statistic
    assert rank_correlation(left, right) == pytest.approx(expected)
    assert np.isnan(rank_correlation(left, np.ones_like(left)))


def test_agreement() -> None:
    sets = np.zeros((3, 2, 2), dtype=bool)
    sets[0, 0, 0] = sets[1, 0, 0] = sets[1, 0, 1] = True
    scores = {"facilitation": np.where(sets, 0.9, 0.1)}
    found = agreement_of(scores, sets)
    assert found.jaccard[0, 1] == 0.5
    assert found.jaccard[0, 2] == 0
    assert found.jaccard[2, 2] == 1
    assert [len(heads) for heads, _ in found.circuits] == [1, 2, 0]
    assert found.spearman["facilitation"][0, 0] == pytest.approx(1)
    assert np.isnan(found.spearman["facilitation"][0, 2])

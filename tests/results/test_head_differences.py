"""Heads that differ by more than seeds do: planted ones are found, chance is not."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ttest_ind

from chg.results.head_differences import head_differences, t_p_values, welch_p_values
from support.drawn_runs import SHARES, few_unsure, gates_near_ends


def test_welch_is_scipys() -> None:
    random = np.random.default_rng(0)
    left, right = random.normal(size=(3, 20)), random.normal(0.5, 2, size=(5, 20))
    expected = ttest_ind(left, right, equal_var=False).pvalue
    assert welch_p_values(left, right) == pytest.approx(expected)
    constant = np.array([[1.0, 1.0], [1.0, 1.0]])
    assert welch_p_values(constant, np.array([[1.0, 2.0], [1.0, 2.0]])).tolist() == [1, 0]
    one_sided = t_p_values(np.array([0.0]), (np.array([np.nan]), np.array([0.1])), (9, 9))
    assert np.isnan(one_sided[0])


def test_planted_differences_are_found() -> None:
    """Twenty of 270 heads, among others of which a sixth is open in some seeds only."""
    random = np.random.default_rng(1)
    for seeds, least in ((3, 0.9), (5, 0.95)):
        found, wrong = [], 0
        for _ in range(10):
            share = few_unsure(random, 270)
            other = share.copy()
            share[:20], other[:20] = np.tile([0.0, 1.0], 10), np.tile([1.0, 0.0], 10)
            pair = tuple(gates_near_ends(random, chance, seeds) for chance in (share, other))
            differs = head_differences([pair]).differs  # type: ignore[list-item]
            found.append(differs[:20].mean())
            wrong += int(differs[20:].sum())
        assert np.mean(found) > least
        assert wrong / (10 * 20) < 0.06


@pytest.mark.parametrize("kind", SHARES)
@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("heads", [32, 270])
def test_seldom_does_a_head_differ_by_chance(kind: str, seeds: int, heads: int) -> None:
    """Two sets of seeds of one distribution, gates near 0 and 1."""
    random = np.random.default_rng(2)
    wrong = 0
    for _ in range(20):
        chance = SHARES[kind](random, heads)
        left, right = (gates_near_ends(random, chance, seeds) for _ in range(2))
        wrong += int(head_differences([(left, right), (1 - left, 1 - right)]).differs.sum())
    assert wrong / (20 * heads) < 0.01


def test_a_t_test_alone_would_be_wrong() -> None:
    """The reason for the deals: three seeds that happen to agree have no spread."""
    random = np.random.default_rng(3)
    passing = 0
    for _ in range(20):
        left, right = (gates_near_ends(random, np.full(270, 0.5), 3) for _ in range(2))
        found = head_differences([(left, right)])
        passing += found.passing
        assert found.by_chance > 1
        assert not found.differs.any()
    assert passing / (20 * 270) > 0.02


def test_nothing_is_said_with_two_seeds() -> None:
    gates = np.array([[0.0, 1.0], [0.0, 1.0]])
    found = head_differences([(gates, 1 - gates)])
    assert not found.differs.any()
    assert np.isnan(found.q).all()
    assert np.isnan(found.by_chance)
    assert found.change[0].tolist() == [1, -1]
    three = np.repeat(gates[:1], 3, axis=0)
    assert head_differences([(three, 1 - three)]).differs.all()
    assert not head_differences([(three, three + 0.05)]).differs.any()

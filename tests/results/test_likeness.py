"""Likeness of runs between their seeds: known answers, and intervals and p values that hold."""

from __future__ import annotations

import math

import numpy as np
import pytest

from chg.results.agreement import overlap_matrix
from chg.results.deals import MOST_DEALS, other_deals
from chg.results.likeness import between_runs, chance_of_gap, within_run
from support.drawn_runs import DRAWS, sizes


def test_every_deal_is_another() -> None:
    for left, right in ((2, 2), (3, 3), (3, 5), (5, 5)):
        deals = other_deals(left, right)
        ways = math.comb(left + right, left) // (2 if left == right else 1)
        assert len(deals) == ways - 1
        assert (deals.sum(1) == left).all()
        assert len(np.unique(deals, axis=0)) == len(deals)
        assert not (deals == (np.arange(left + right) < left)).all(1).any()
    assert MOST_DEALS // 2 < len(other_deals(10, 10)) <= MOST_DEALS
    assert len(other_deals(1, 1)) == 0


def test_likeness_of_known_sets() -> None:
    sets = np.zeros((3, 4), dtype=bool)
    sets[0, :2] = sets[1, :2] = sets[2, 1:3] = True
    matrix = overlap_matrix(sets, sets)
    within = within_run(matrix, [1, 2, 3])
    assert within.pairs == 3
    assert within.mean == pytest.approx((1 + 1 / 3 + 1 / 3) / 3)
    assert (within.lowest, within.highest) == (pytest.approx(1 / 3), 1)
    # The same run twice: pairs of one start are left out, so that both figures are one.
    again = between_runs(matrix, [1, 2, 3], [1, 2, 3])
    assert again.mean == pytest.approx(within.mean)
    assert (again.low, again.high) == pytest.approx((within.low, within.high))
    apart = between_runs(matrix, [1, 2, 3], [4, 5, 6])
    assert apart.mean == pytest.approx(matrix.mean())
    assert apart.pairs == 9


def test_too_few_seeds_have_no_interval() -> None:
    sets = np.eye(4, dtype=bool)
    alone = within_run(overlap_matrix(sets[:1], sets[:1]), [0])
    assert alone.pairs == 0
    assert np.isnan(alone.mean)
    two = within_run(overlap_matrix(sets[:2], sets[:2]), [0, 1])
    assert two.mean == 0
    assert not two.has_interval
    one_each = between_runs(np.ones((1, 1)), [0], [0])
    assert one_each.mean == 1
    assert not one_each.has_interval
    assert np.isnan(chance_of_gap(np.ones((2, 2)), [0], [1]))


def test_the_p_value_is_the_share_of_deals() -> None:
    sets = np.repeat(np.eye(2, dtype=bool), 3, axis=0)
    matrix = overlap_matrix(sets, sets)
    assert chance_of_gap(matrix, [0, 1, 2], [3, 4, 5]) == pytest.approx(1 / 10)
    assert chance_of_gap(np.ones((6, 6)), [0, 1, 2], [3, 4, 5]) == 1


@pytest.mark.parametrize("kind", DRAWS)
def test_intervals_hold(kind: str) -> None:
    """The true mean lies in about 95 % of them; in 90 % where seeds find one of two circuits."""
    random, draw = np.random.default_rng(5), DRAWS[kind]
    many = draw(random, 600, 0), draw(random, 600, 8)
    truth_between = overlap_matrix(*many).mean()
    within = overlap_matrix(many[0], many[0])
    truth_within = within[np.triu_indices(len(within), 1)].mean()
    for seeds in (3, 5):
        hits = np.zeros((2, 200), dtype=bool)
        for trial in range(200):
            left, right = draw(random, seeds, 0), draw(random, seeds, 8)
            between = between_runs(overlap_matrix(left, right), range(seeds), range(seeds))
            alone = within_run(overlap_matrix(left, left), range(seeds))
            hits[0, trial] = between.low <= truth_between <= between.high
            hits[1, trial] = alone.low <= truth_within <= alone.high
        coverage = hits.mean(1)
        assert coverage.min() > (0.85 if "circuits" in kind else 0.9), coverage


def test_p_values_are_not_too_small_where_nothing_differs() -> None:
    random = np.random.default_rng(6)
    found = []
    for _ in range(200):
        sets = sizes(random, 8, 0)
        found.append(chance_of_gap(overlap_matrix(sets, sets), range(4), range(4, 8)))
    assert np.mean(np.array(found) <= 0.1) < 0.16

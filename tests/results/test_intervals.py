"""Intervals and tests over seeds and rows, against what they promise."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from chg.results.intervals import (
    jeffreys_interval,
    p_values,
    q_values,
    t_interval,
    t_quantile,
)


@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
def test_t_intervals_cover_the_mean_as_often_as_they_say(seeds: int) -> None:
    samples = np.random.default_rng(seeds).normal(0.5, 0.1, (seeds, 4000))
    low, high = t_interval(samples)
    assert ((low < 0.5) & (high > 0.5)).mean() == pytest.approx(0.95, abs=0.02)


def test_a_single_seed_has_no_interval() -> None:
    low, high = t_interval(np.full((1, 2, 3), 0.4))
    assert low.shape == (2, 3)
    assert np.isnan(low).all()
    assert np.isnan(high).all()


@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
def test_jeffreys_intervals_cover_a_share_drawn_at_random(seeds: int) -> None:
    generator = np.random.default_rng(seeds)
    share = generator.random(20_000)
    low, high = jeffreys_interval(generator.binomial(seeds, share), seeds)
    assert 0.93 <= ((low <= share) & (share <= high)).mean() <= 0.98


def test_jeffreys_bounds_reach_the_ends() -> None:
    low, high = jeffreys_interval(np.array([0, 5]), 5)
    assert low[0] == 0
    assert high[1] == 1
    assert high[0] == pytest.approx(1 - low[1])
    assert 0.3 < high[0] < 0.5


def test_p_values_are_those_of_a_paired_t_test() -> None:
    rows = np.random.default_rng(0).normal(0.1, 1, (30, 4))
    error = rows.std(0, ddof=1) / np.sqrt(30)
    expected = stats.ttest_1samp(rows, 0).pvalue
    assert p_values(rows.mean(0), error, 30) == pytest.approx(expected)
    certain = p_values(np.array([0.0, 0.5, np.nan]), np.array([0.0, 0.0, np.nan]), 30)
    assert certain[:2].tolist() == [1, 0]
    assert np.isnan(certain[2])
    assert np.isnan(p_values(np.ones(2), np.ones(2), 1)).all()
    assert t_quantile(30) == pytest.approx(stats.t.ppf(0.975, 29))


def test_q_values_leave_out_what_was_not_tested() -> None:
    p = np.array([[0.01, np.nan], [0.04, 0.5]])
    q = q_values(p)
    assert np.isnan(q[0, 1])
    assert [q[0, 0], q[1, 0], q[1, 1]] == pytest.approx([0.03, 0.06, 0.5])
    assert np.isnan(q_values(np.full(3, np.nan))).all()

"""Statistics over seeds, on cases whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from chg.results.agreement import (
    agreement_of,
    bootstrap_interval,
    rank_correlation,
    redundant_groups,
)
from chg.results.roles import classify_heads, role_over_seeds, role_shares


def test_bootstrap_interval_covers_the_mean_as_often_as_it_says() -> None:
    samples = np.random.default_rng(1).normal(0.5, 0.1, (20, 1, 400))
    low, high = bootstrap_interval(samples)
    covered = ((low < 0.5) & (high > 0.5)).mean()
    assert 0.88 <= covered <= 0.98  # percentiles of 20 values are a little narrow
    low, high = bootstrap_interval(np.full((4, 1, 2), 0.3))
    assert np.allclose([low, high], 0.3)
    assert np.isnan(bootstrap_interval(samples[:1])[0]).all()


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


def test_redundant_pairs_and_triples() -> None:
    """One of L0H0 and L0H1 is always open, one of L1H0 to L1H2, and L0H3 comes and goes."""
    rng = np.random.default_rng(0)
    removal = np.full((8, 2, 4), 0.02)
    for seed in range(8):
        removal[seed, 0, seed % 2] = 0.9
        removal[seed, 1, seed % 3] = 0.9
    removal[:, 0, 3] = rng.random(8) > 0.5
    removal[:, 1, 3] = 0.9
    groups = redundant_groups(removal, removal > 0.7)
    assert groups[0].heads == ((0, 0), (0, 1))
    assert groups[0].open_share == (0.5, 0.5)
    assert groups[1].heads == ((1, 0), (1, 1), (1, 2))
    assert not redundant_groups(removal[:1], removal[:1] > 0.7)


@given(st.integers(1, 6), st.integers(0, 10_000))
def test_groups_are_never_all_closed_and_no_head_is_spare(seeds: int, seed: int) -> None:
    removal = np.random.default_rng(seed).random((seeds, 2, 3))
    taken: set[tuple[int, int]] = set()
    for group in redundant_groups(removal, removal > 0.7):
        opened = np.stack([removal[:, a, b] >= 0.5 for a, b in group.heads])
        assert opened.any(0).all()
        assert (opened & (opened.sum(0) == 1)).any(1).all()
        assert not taken & set(group.heads)
        taken |= set(group.heads)


def test_roles_over_seeds_are_undecided_where_seeds_disagree() -> None:
    high, low = 0.9, 0.1
    plus = torch.tensor([[[high, high, low, float("nan")]]] * 5)
    minus = torch.tensor([[[high, low, low, float("nan")]]] * 5)
    minus[0, 0, 0] = low  # one seed of five
    minus[:2, 0, 1] = high  # two of five
    roles = classify_heads(plus, minus).roles
    assert roles.shape == (5, 1, 4)
    assert role_shares(roles)["facilitating"][0, 0] == pytest.approx(0.8)
    together = role_over_seeds(roles, 0.8)
    assert together.tolist() == [["facilitating", "undecided", "interfering", ""]]
    assert role_over_seeds(roles, 0.9)[0, 0] == "undecided"
    assert role_over_seeds(roles, 0.6)[0, 1] == "irrelevant"


def test_thresholds_are_parameters() -> None:
    gates = torch.full((1, 1), 0.6)
    assert classify_heads(gates, gates).roles[0, 0] == "undecided"
    assert classify_heads(gates, gates, open_above=0.5).roles[0, 0] == "facilitating"
    assert classify_heads(gates, gates, open_above=0.9, closed_below=0.8).roles[0, 0] == (
        "interfering"
    )

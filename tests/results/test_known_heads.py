"""Heads known by their attention: groups, how well scores find them, and intervals that hold."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import fisher_exact

from chg.results.intervals import auroc_interval
from chg.results.known_heads import known_heads, more_than_drawn, separation

Draw = Callable[[np.random.Generator, int], np.ndarray]


def table(**changes: object) -> pd.DataFrame:
    """Twelve heads, of which the last four look for induction, and of which half facilitate."""
    columns = {
        "layer": np.repeat(range(3), 4),
        "head": np.tile(range(4), 3),
        "role": [*["irrelevant"] * 7, *["facilitating", "facilitating in part"] * 2, "undecided"],
        "facilitation_mean": np.linspace(0, 1, 12),
        "ablation_score": np.linspace(0, 1, 12),
        "previous_token": [0.9, 0.9, *[0.1] * 10],
        "duplicate_token": [np.nan] * 12,
        "induction": [0.4] * 8 + [0.5, 0.9, 0.7, 0.6],
    }
    return pd.DataFrame({**columns, **changes})


def test_a_group_beside_all_other_heads() -> None:
    (group,) = known_heads(table())
    assert group.pattern == "induction"
    assert group.heads == ((2, 1), (2, 2), (2, 3), (2, 0))
    assert (group.facilitating, group.others, group.others_facilitating) == (3, 8, 1)
    assert group.facilitation.auroc == 1
    assert group.ablation.auroc == 0, "ablating them helps"
    assert group.sentence == (
        "Heads with induction attention above 0.4: 3 of 4 facilitate, of the other heads 1 of 8 "
        "(p = 0.067, Fisher's exact test); "
        f"AUROC of facilitation 1.00 (95 % interval {group.facilitation.low:.2f} to 1.00), of "
        f"individual ablation 0.00 (95 % interval 0.00 to {group.ablation.high:.2f})."
    )


def test_heads_that_could_not_be_read_are_in_no_group() -> None:
    induction = [*[np.nan] * 4, *[0.1] * 4, *[0.9] * 4]
    (group,) = known_heads(table(induction=induction))
    assert group.others == 4


@pytest.mark.parametrize("induction", [[0.1] * 10 + [0.9] * 2, [0.9] * 10 + [0.1] * 2])
def test_of_few_heads_nothing_is_said(induction: list[float]) -> None:
    assert known_heads(table(induction=induction)) == ()
    without = table().drop(columns=["previous_token", "duplicate_token", "induction"])
    assert known_heads(without) == ()


@given(
    st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=4, max_size=40).filter(
        lambda heads: 1 < sum(known for _, known in heads) < len(heads) - 1
    )
)
def test_the_area_counts_pairs(heads: list[tuple[int, bool]]) -> None:
    scores, known = np.array([score for score, _ in heads], float), np.array([k for _, k in heads])
    pairs = [np.sign(one - other) / 2 + 0.5 for one in scores[known] for other in scores[~known]]
    found = separation(scores, known)
    assert found.auroc == pytest.approx(np.mean(pairs))
    assert 0 <= found.low <= found.auroc <= found.high <= 1
    assert found.low < found.high
    turned = separation(-scores, known)
    assert turned.auroc == pytest.approx(1 - found.auroc)


def test_more_heads_make_a_narrower_interval() -> None:
    widths = [np.diff(auroc_interval(0.9, inside, 20 * inside))[0] for inside in (3, 6, 12, 100)]
    assert (np.diff(widths) < 0).all()


@pytest.mark.parametrize("area", [0.0, 0.2, 0.5, 0.9, 1.0])
def test_an_interval_ends_where_the_area_is_barely_likely(area: float) -> None:
    """Hanley and McNeil's standard error, of the area at either end."""
    for end in auroc_interval(area, 5, 30):
        one, other = end / (2 - end), 2 * end**2 / (1 + end)
        variance = end * (1 - end) + 4 * (one - end**2) + 29 * (other - end**2)
        if 0 < end < 1:
            assert abs(area - end) / np.sqrt(variance / 150) == pytest.approx(1.96, abs=1e-3)
        else:
            assert end == area


def normal(mean: float) -> Draw:
    return lambda random, size: random.normal(mean, 1, size)


def gates(share: float) -> Draw:
    """Fitted gates: most near 0 or 1, a share of them open."""
    return lambda random, size: np.abs((random.random(size) < share) - random.beta(0.6, 8, size))


@pytest.mark.parametrize(
    ("inside", "outside"),
    [(normal(0), normal(0)), (normal(1.5), normal(0)), (gates(0.75), gates(0.08))],
    ids=["nothing", "clear", "gates"],
)
@pytest.mark.parametrize("size", [3, 8])
def test_the_interval_holds_the_truth(inside: Draw, outside: Draw, size: int) -> None:
    """In 95 of 100 draws of a few heads among 270, or more, as far as 300 draws can tell."""
    random = np.random.default_rng(1)
    known = np.arange(40_000) < 20_000
    many = np.concatenate([inside(random, 20_000), outside(random, 20_000)])
    truth = separation(many, known).auroc
    held = []
    for _ in range(300):
        scores = np.concatenate([inside(random, size), outside(random, 270 - size)])
        found = separation(scores, np.arange(270) < size)
        held.append(found.low <= truth <= found.high)
    assert np.mean(held) > 0.92


def test_a_group_is_held_against_blind_draws() -> None:
    table = [[6, 69], [2, 193]]
    expected = fisher_exact(table, alternative="greater").pvalue
    assert more_than_drawn((6, 8), (69, 262)) == pytest.approx(expected)
    assert more_than_drawn((0, 8), (69, 262)) == 1

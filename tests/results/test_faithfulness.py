"""Faithfulness on disk, and the words that it may say."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from chg.errors import ResultsError
from chg.results.faithfulness import (
    Bounded,
    Faithfulness,
    FaithfulnessCurve,
    Ranking,
    sizes_of,
)


def curve(name: str, f: list[float]) -> FaithfulnessCurve:
    """A curve over sizes 0, 1, 2, 4."""
    values = np.array([f])
    area = Bounded(0.5, 0.4, 0.6)
    return FaithfulnessCurve(
        name,
        values * 3 - 3,
        values.clip(0, 1),
        values,
        values[0] - 0.1,
        values[0] + 0.1,
        area,
        area,
    )


SURE = Bounded(3.0, 2.5, 3.5)


def found(gap: Bounded = SURE) -> Faithfulness:
    """Two curves, with a gap between all heads and none."""
    curves = (curve("by hand", [0, 0.95, 0.8, 1]), curve("random", [0, 0.1, 0.2, 1]))
    return Faithfulness(np.array([0, 1, 2, 4]), 20, "zero", "logprob", gap, curves)


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    before = found(Bounded(3.0, float("nan"), float("nan")))
    after = Faithfulness.load(before.save(tmp_path / "faithfulness.json"))
    assert np.array_equal(after.sizes, before.sizes)
    assert [one.ranking for one in after.curves] == ["by hand", "random"]
    assert np.allclose(after.curves[0].faithfulness, before.curves[0].faithfulness)
    assert np.isnan(after.gap.low)
    assert after.table.equals(before.table)


@pytest.mark.parametrize("damage", ["curves", "sizes", "gap", "metric"])
def test_a_damaged_file_is_told_by_its_field(damage: str, tmp_path: Path) -> None:
    path = found().save(tmp_path / "faithfulness.json")
    content = json.loads(path.read_text())
    content[damage] = {"what": 1}
    path.write_text(json.dumps(content))
    with pytest.raises(ResultsError, match=rf"faithfulness.json is not .*{damage}"):
        Faithfulness.load(path)


def test_a_size_does_the_task_where_all_larger_ones_do() -> None:
    by_hand, random = found().curves
    assert found().size_reaching(by_hand) == 4  # 1 does, but 2 does not
    assert found().size_reaching(by_hand, 0.7) == 1
    assert found().size_reaching(random) == 4
    assert "the first 4 of 4 heads" in found().sentence


@pytest.mark.parametrize("low", [-0.2, float("nan")])
def test_without_a_sure_gap_nothing_is_said(low: float) -> None:
    unsure = found(Bounded(0.3, low, 0.8))
    assert unsure.size_reaching(unsure.curves[0]) is None
    assert "not defined" in unsure.sentence


def test_places_keep_the_order_of_heads_in_ties() -> None:
    ranking = Ranking("x", np.array([[[1.0, 2.0], [np.nan, 1.0], [3.0, 0.0]]]))
    places = ranking.places(0)
    assert np.array_equal(places, [[2, 1], [np.nan, 3], [0, 4]], equal_nan=True)
    assert ranking.first(0, 2).tolist() == [[False, True], [False, False], [True, False]]
    assert ranking.first(0, 5).sum() == 5


@pytest.mark.parametrize("heads", [1, 2, 8, 32, 270, 1024])
def test_sizes_go_from_none_to_all(heads: int) -> None:
    sizes = sizes_of(heads)
    assert sizes[0] == 0
    assert sizes[-1] == heads
    assert (np.diff(sizes) > 0).all()
    assert len(sizes) <= 13

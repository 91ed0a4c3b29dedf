"""The causal check: what its verdicts rest on, and what it may cost."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from chg.ablation.causal_check import _counts, _verdict, affordable


class Curve:
    """A measured curve as far as a verdict reads it."""

    def __init__(self, value: float, low: float | None, high: float | None) -> None:
        self.value, self.bounds = value, (low, high)


@pytest.mark.parametrize(
    ("low", "high", "expected", "holds"),
    [
        (-0.08, 0.05, "zero", True),
        (-0.3, -0.2, "zero", False),
        (0.11, 0.2, "zero", False),
        (-0.2, 0.05, "zero", None),
        (-0.2, 0.2, "zero", None),
        (-0.3, -0.1, "negative", True),
        (0.1, 0.3, "negative", False),
        (-0.1, 0.3, "negative", None),
        (0.1, 0.3, "positive", True),
        (-0.3, -0.1, "positive", False),
        (None, None, "zero", None),
    ],
)
def test_an_interval_decides(
    low: float | None, high: float | None, expected: str, holds: bool | None
) -> None:
    verdict, words = _verdict(Curve(0.0, low, high), expected, 0.1)  # type: ignore[arg-type]
    assert verdict is holds
    assert ("too few" in words) == (holds is None)


def test_about_zero_needs_a_tolerance() -> None:
    verdict, words = _verdict(Curve(0.0, -0.01, 0.01), "zero", None)  # type: ignore[arg-type]
    assert verdict is None
    assert "--check_tolerance" in words


@pytest.mark.parametrize("shape", [(4, 8), (12, 12), (30, 9), (32, 32)])
def test_a_check_costs_no_more_than_half_of_ablating_every_head(shape: tuple[int, int]) -> None:
    exists = torch.ones(shape, dtype=torch.bool)
    seeds, points = affordable(exists, 3, 12)
    ablation = sum(shape[0] - layer for layer in range(shape[0]) for _ in range(shape[1]))
    assert seeds >= 1
    assert points >= 3
    assert 3 * 2 * seeds * points * shape[0] <= ablation / 2 or (seeds, points) == (1, 3)
    assert 3 * 2 * seeds * points * shape[0] <= ablation


def test_the_judged_step_takes_the_place_of_its_neighbour() -> None:
    for wanted in (1, 2, 7, 30, 100):
        counts = _counts(100, 5, wanted)
        assert len(counts) <= 5
        assert {1, wanted, 100} <= set(counts.tolist())
        assert (np.diff(counts) > 0).all()

"""The helpers of the tests: what they take for granted."""

from __future__ import annotations

from torch import nn

from support.precision import FLOAT64, bound, float32_results
from support.tiny_models import make_model


def test_families_by_name_compute_in_float64_throughout(model: nn.Module) -> None:
    assert bound(model) == FLOAT64


def test_norms_that_compute_in_float32_widen_the_bound() -> None:
    """Five RMS norms of several operations each; rotary angles, in float32 too, do not count."""
    model = make_model("llama").double()
    assert float32_results(model) >= 5
    assert FLOAT64 < bound(model) < 1e-5
    assert float32_results(make_model("phi").double()) == 0

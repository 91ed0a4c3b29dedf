"""Roles beside ablation: every significant contradiction is listed, and nothing else."""

from __future__ import annotations

import numpy as np

from chg.results.disagreement import disagreements
from chg.results.study_scores import Effects

ROLES = np.array([["facilitating", "facilitating in part", "irrelevant", "irrelevant"]] * 2)
ROLES[1] = ["interfering", "interfering in part", "undecided", ""]


def listed(
    scores: list[list[float]], error: float = 0.01, tolerance: float | None = None
) -> list[str]:
    values = np.array(scores)
    effects = Effects(values, np.full(values.shape, error), values, 128)
    return disagreements(ROLES, ROLES, effects, tolerance).ravel().tolist()


def test_agreement_and_disagreement() -> None:
    agreeing = [[-0.5, -0.5, 0.05, -0.05], [0.5, 0.5, 9.0, np.nan]]
    assert listed(agreeing) == [""] * 8
    against = [[0.5, 0.5, -0.11, 0.2], [-0.5, -0.5, -9.0, np.nan]]
    assert listed(against) == ["G = 1"] * 6 + ["", ""]
    assert listed(against, error=10.0) == [""] * 8


def test_a_loss_above_a_tenth_of_a_nat_is_never_nothing() -> None:
    small = [[-1.0, -1.0, -0.15, 0.03], [1.0, 1.0, 0.0, np.nan]]
    assert listed(small, tolerance=5.0)[2:4] == ["G = 1", ""]
    assert listed(small, tolerance=0.02)[2:4] == ["G = 1", "G = 1"]


def test_ablation_at_retention_is_compared_with_the_first_seed() -> None:
    scores = np.full(ROLES.shape, 0.0)
    at_plus = np.array([[0.5, -0.5, 0.0, 0.3], [0.0] * 4])
    errors = np.full(ROLES.shape, 0.01)
    effects = Effects(scores, errors, scores, 128, at_plus, errors, 64)
    found = disagreements(ROLES, ROLES, effects, None)
    assert found[0].tolist() == ["G+", "", "", "G+"]
    both = Effects(at_plus, errors, scores, 128, at_plus, errors, 64)
    assert disagreements(ROLES, ROLES, both, None)[0].tolist() == [
        "G = 1 and G+", "", "", "G = 1 and G+",
    ]  # fmt: skip

"""Roles of heads, from one fit of each kind and over seeds."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from chg.errors import GateError
from chg.results.roles import classify_heads, role_over_seeds, role_shares


def test_roles() -> None:
    plus = torch.tensor([[0.9, 0.9, 0.1, 0.5, 0.1]])
    minus = torch.tensor([[0.9, 0.1, 0.1, 0.1, 0.9]])
    taxonomy = classify_heads(plus, minus)
    assert taxonomy.roles.tolist() == [
        ["facilitating", "irrelevant", "interfering", "undecided", "undecided"]
    ]
    assert np.allclose(taxonomy.facilitation, minus)
    assert np.allclose(taxonomy.interference, 1 - plus.numpy())
    assert np.allclose(taxonomy.irrelevance, (plus * (1 - minus)).numpy())
    with pytest.raises(GateError, match="different models"):
        classify_heads(plus, minus[:, :3])


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

"""Roles of heads, from one fit of each kind and over seeds."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from chg.errors import GateError
from chg.results.roles import (
    classify_heads,
    gates_moved,
    in_family,
    role_over_seeds,
    roles_at_rest,
    seeds_for,
)


def test_roles() -> None:
    plus = torch.tensor([[0.9, 0.9, 0.1, 0.5, 0.1, 0.9, 0.5]])
    minus = torch.tensor([[0.9, 0.1, 0.1, 0.1, 0.9, 0.5, 0.5]])
    taxonomy = classify_heads(plus, minus)
    in_part = ["facilitating in part", "interfering in part"]
    assert taxonomy.roles[0].tolist() == [
        "facilitating", "irrelevant", "interfering", in_part[1], "undecided", in_part[0],
        "undecided",
    ]  # fmt: skip
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
    assert seeds_for(roles, "facilitating")[0, 0] == 4
    together = role_over_seeds(roles, 0.8)
    assert together.tolist() == [["facilitating", "undecided", "interfering", ""]]
    assert role_over_seeds(roles, 0.9)[0, 0] == "undecided"
    assert role_over_seeds(roles, 0.6)[0, 1] == "irrelevant"


def test_seeds_that_give_a_role_in_full_and_in_part_agree_on_it_in_part() -> None:
    """A gate that rests at the threshold has a role, whichever side of it each seed is on."""
    plus = torch.full((5, 1, 1), 0.95)
    minus = torch.tensor([0.697, 0.703, 0.699, 0.702, 0.698]).view(5, 1, 1)
    roles = classify_heads(plus, minus).roles
    assert role_over_seeds(roles, 0.8)[0, 0] == "facilitating in part"
    assert seeds_for(roles, "facilitating in part")[0, 0] == 5
    assert seeds_for(roles, "facilitating")[0, 0] == 2
    assert role_over_seeds(roles, 0.8, shows_task=False)[0, 0] == "undecided"
    assert in_family(roles, "facilitation").all()


def test_a_head_that_had_not_come_to_rest_is_undecided() -> None:
    plus = torch.full((1, 1, 5), 0.95)
    minus = torch.tensor([[[0.5, 0.5, 0.9, 0.75, 0.05]]])
    earlier = torch.tensor([[[0.45, 0.65, 0.25, 0.65, 0.06]]])
    moved = gates_moved(torch.logit(earlier), torch.logit(minus))
    assert moved.tolist() == [[[False, True, True, True, False]]]
    roles = classify_heads(plus, minus).roles
    found = roles_at_rest(roles, classify_heads(plus, earlier).roles, moved)
    in_part = "facilitating in part"
    assert roles[0, 0].tolist() == [in_part, in_part, "facilitating", "facilitating", "irrelevant"]
    assert found[0, 0].tolist() == [
        in_part, "undecided", "undecided", "facilitating", "irrelevant",
    ]  # fmt: skip
    nothing = np.array([[[""]]])
    assert roles_at_rest(nothing, nothing, moved[..., :1]).tolist() == [[[""]]]


def test_thresholds_are_parameters() -> None:
    gates = torch.full((1, 1), 0.6)
    assert classify_heads(gates, gates).roles[0, 0] == "undecided"
    assert classify_heads(gates, gates, open_above=0.5).roles[0, 0] == "facilitating"
    assert classify_heads(gates, gates, open_above=0.9, closed_below=0.8).roles[0, 0] == (
        "interfering"
    )

"""Redundant pairs: proposed by patterns over seeds, and proven by ablation alone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from chg.ablation import close_pairs, individual_scores
from chg.engine import evaluate_gates
from chg.results.redundancy import MOST_PAIRS, PAIRS_PER_HEAD, RedundantPair, propose_pairs
from chg.results.schema import read_record
from chg.selftest.planted import DUPLICATES, SINGLE, copy_rows, redundant_model


def test_heads_that_take_turns_are_proposed() -> None:
    removal = np.full((8, 2, 4), 0.02)
    removal[:, 1, 3] = 0.9
    for seed in range(8):
        removal[seed, 0, seed % 2] = 0.9
    assert propose_pairs(removal) == (((0, 0), (0, 1)),)
    assert propose_pairs(removal[:1]) == ()


@given(st.integers(1, 6), st.integers(0, 10_000))
def test_proposals_are_few_and_never_closed_together(seeds: int, seed: int) -> None:
    removal = np.random.default_rng(seed).random((seeds, 6, 8))
    pairs = propose_pairs(removal)
    assert len(pairs) <= MOST_PAIRS
    heads = [head for pair in pairs for head in pair]
    assert all(heads.count(head) <= PAIRS_PER_HEAD for head in heads)
    for a, b in pairs:
        opened = np.stack([removal[:, a[0], a[1]], removal[:, b[0], b[1]]]) >= 0.5
        assert opened.any(0).all()
        assert not opened.all(1).any()


def test_only_true_duplicates_are_proven() -> None:
    """The scores are those of plain ablation of both, of one, and of the other."""
    model, rows = redundant_model(), copy_rows(32, 9)

    def evaluate(_name: str, matrices: list[torch.Tensor]) -> list:
        return evaluate_gates(model, rows, matrices)

    exists = torch.ones(2, 4, dtype=torch.bool)
    alone = individual_scores(evaluate, "ablation", torch.ones(2, 4), exists)
    proposed = (DUPLICATES, (DUPLICATES[0], SINGLE), ((0, 1), (1, 3)))
    both, mixed, nothing = close_pairs(evaluate, proposed, alone, (2, 4))
    assert both.proven
    assert not mixed.proven
    assert not nothing.proven
    gates = torch.ones(2, 4)
    gates[tuple(zip(*DUPLICATES, strict=True))] = 0
    without = evaluate_gates(model, rows, [torch.ones(2, 4), gates])
    loss = without[1].mean_target_logprob - without[0].mean_target_logprob
    assert both.together == pytest.approx(loss, abs=1e-6)
    assert both.excess == pytest.approx(loss - sum(both.alone), abs=1e-6)


def test_a_small_or_unsure_excess_proves_nothing() -> None:
    heads = ((0, 0), (0, 1))
    pair = RedundantPair(heads, (-0.01, -0.02), -0.9, -0.87, 0.05, 1e-9)
    assert pair.proven
    assert not RedundantPair(heads, (-0.01, -0.5), -0.9, -0.39, 0.05, 1e-9).proven
    assert not RedundantPair(heads, (-0.01, -0.02), -0.9, -0.87, 0.5, 0.08).proven
    assert not RedundantPair(heads, (-0.0001, -0.0002), -0.009, -0.008, 1e-4, 1e-9).proven
    assert read_record(RedundantPair, json.loads(json.dumps(vars(pair))), Path(), "") == pair

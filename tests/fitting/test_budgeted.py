"""Budgeted fits: soft sets of a given size, rows with budgets of their own, and planted heads."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import chg
from chg.config.fitting import FitConfig
from chg.engine.engine import open_engine
from chg.errors import GateError
from chg.fitting.budgeted import (
    BUDGETS,
    TEMPERATURES,
    BudgetedBatch,
    budgeted_updates,
    soft_top_k,
    spread_ranks,
)
from chg.fitting.optimizer import Update
from chg.fitting.ranking import BudgetedFit
from chg.fitting.updates import update_batches
from chg.selftest.planted import HELPFUL, copy_rows, planted_model
from support.engines import open_plain_engine
from support.rows import ragged_data
from support.tiny_models import HEADS, LAYERS, make_model


@given(
    scores=st.lists(st.floats(-4, 4), min_size=3, max_size=40),
    share=st.floats(0.02, 0.98),
    temperature=st.floats(0.05, 2),
)
@settings(deadline=None, max_examples=60)
def test_gates_sum_to_the_budget_in_the_order_of_scores(
    scores: list[float], share: float, temperature: float
) -> None:
    given_scores = torch.tensor([scores], dtype=torch.float64)
    budget = torch.tensor([share * len(scores)], dtype=torch.float64)
    (gates,) = soft_top_k(given_scores, budget, temperature)[0]
    assert float(gates.sum()) == pytest.approx(float(budget), abs=1e-6)
    order = given_scores[0].argsort()
    assert (gates[order].diff() >= -1e-9).all()
    assert ((gates >= 0) & (gates <= 1)).all()


def test_gates_grow_hard_as_the_temperature_falls() -> None:
    scores = torch.tensor([[0.3, -1.0, 2.0, 0.1]])
    gates = soft_top_k(scores, torch.tensor([2.0]), 0.01)[0, 0]
    assert torch.allclose(gates, torch.tensor([1.0, 0, 1, 0]), atol=1e-4)


def test_the_gradient_is_that_of_small_changes() -> None:
    scores = torch.randn(2, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    scores.requires_grad_()
    budgets = torch.tensor([0.7, 2.0, 5.1], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda s: soft_top_k(s, budgets, 0.5), (scores,), atol=1e-5)


def test_every_row_has_a_budget_and_small_ones_are_more_frequent() -> None:
    rows = update_batches(copy_rows(64), FitConfig(batch_size=8), 30)
    updates = list(budgeted_updates(rows, 30, 0))
    passes = [part for update in updates for part in update]
    assert all(isinstance(part, BudgetedBatch) for part in passes)
    budgets = torch.tensor([b for part in passes for b in part.budgets])  # type: ignore[attr-defined]
    assert len(budgets) == 30 * 8
    assert BUDGETS[0] <= budgets.min()
    assert budgets.max() <= BUDGETS[1]
    assert 0.4 < float((budgets < 0.26).float().mean()) < 0.6
    temperatures = [part.temperature for part in passes]  # type: ignore[attr-defined]
    assert (temperatures[0], temperatures[-1]) == pytest.approx(TEMPERATURES)


def test_halves_keep_rows_with_their_budgets() -> None:
    rows = copy_rows(5).rows
    whole = BudgetedBatch((rows,), 1.0, (0.1, 0.2, 0.3, 0.4, 0.5), 0.7)
    halves = whole.halves()
    assert halves is not None
    first, second = halves
    assert isinstance(first, BudgetedBatch)
    assert isinstance(second, BudgetedBatch)
    assert first.budgets + second.budgets == whole.budgets
    assert [len(half.sides[0]) for half in halves] == [len(first.budgets), len(second.budgets)]
    assert first.share + second.share == pytest.approx(1)
    assert first.temperature == second.temperature == 0.7
    assert replace(whole, sides=(rows[:1],), budgets=(0.1,)).halves() is None


@pytest.mark.parametrize("family", ["gpt2", "llama_grouped"])
@pytest.mark.parametrize("whole", [False, True])
def test_gates_by_row_are_those_of_each_row_alone(family: str, whole: bool) -> None:
    """Metric and gradient, in passes of parts and of the whole."""
    model, data = make_model(family), ragged_data()
    generator = torch.Generator().manual_seed(2)
    gates = torch.rand(2, 5, LAYERS, HEADS, generator=generator, requires_grad=True)
    with (open_plain_engine if whole else open_engine)(model) as engine:
        rows = data.rows[:5]
        together = engine.measure_by_row(gates, engine.batch(rows, data.pad_id, apart=True))
        (gradient,) = torch.autograd.grad(together.sum(), gates)
        for i in range(2):
            for k, row in enumerate(rows):
                own = gates[i, k][None].detach().requires_grad_()
                alone = engine.measure(own, engine.batch([row], data.pad_id))
                (of_it,) = torch.autograd.grad(alone.sum(), own)
                assert together[i, k].item() == pytest.approx(alone.item(), abs=1e-4)
                assert torch.allclose(gradient[i, k], of_it[0], atol=1e-4)


def test_planted_heads_come_first() -> None:
    model, data = planted_model(HELPFUL), copy_rows(64)
    gates = chg.fit_budgeted(model, data, max_steps=60, batch_size=8, show_progress=False)
    order = gates.logits.flatten().argsort(descending=True)[: len(HELPFUL)]
    assert {(int(i) // 4, int(i) % 4) for i in order} == set(HELPFUL)
    assert gates.metadata["budgeted"] is True


def test_it_finds_them_from_the_opposite_order_too() -> None:
    """Of the helpful heads last; the estimate of gradients is no help then."""
    model, data = planted_model(HELPFUL), copy_rows(64)
    start = torch.ones(2, 4)
    for head in HELPFUL:
        start[head] = 0
    gates = chg.fit_budgeted(
        model, data, init=start, max_steps=150, lr=0.02, batch_size=8, show_progress=False
    )
    order = gates.logits.flatten().argsort(descending=True)[: len(HELPFUL)]
    assert {(int(i) // 4, int(i) % 4) for i in order} == set(HELPFUL)


def test_the_same_seed_gives_the_same_scores() -> None:
    model, data = make_model("llama_grouped"), ragged_data()
    fits = [
        chg.fit_budgeted(model, data, max_steps=4, seed=seed, unit="kv_group", show_progress=False)
        for seed in (1, 1, 2)
    ]
    assert torch.equal(fits[0].logits, fits[1].logits)
    assert not torch.equal(fits[0].logits, fits[2].logits)
    assert fits[0].logits.shape == (LAYERS, 2)


def test_a_fit_that_was_put_aside_goes_on_to_the_same_scores() -> None:
    model, data = planted_model(HELPFUL), copy_rows(32)
    config, start = FitConfig(max_steps=12, batch_size=4), torch.zeros(2, 4)
    states: list[dict[str, Tensor]] = []
    with open_engine(model) as engine:
        fit = BudgetedFit(engine, data, config, start)

        def note(update: Update) -> None:
            if update.step == 5:
                states.append(fit.optimizer.state())

        whole = fit.run(note)
        rest = BudgetedFit(engine, data, config, start)
        rest.optimizer.restore(states[0])
        assert torch.equal(rest.run(lambda _: None), whole)


def test_ranks_are_spread_and_absent_heads_stay_absent() -> None:
    spread = spread_ranks(torch.tensor([[5.0, float("nan")], [-1.0, 0.0]]))
    assert spread[0, 1].isnan()
    assert spread[~spread.isnan()].tolist() == [2.0, -2.0, 0.0]


def test_a_start_of_another_model_is_refused() -> None:
    with pytest.raises(GateError):
        chg.fit_budgeted(planted_model(), copy_rows(8), init={"L9H0": 1}, show_progress=False)

"""Fits that run together, each as if alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from chg.config.fitting import FitConfig
from chg.engine import open_engine
from chg.fitting.losses import metric_loss
from chg.fitting.optimizer import (
    GateOptimizer,
    OptimizerOptions,
    Schedule,
    Update,
    starting_logits,
)
from chg.fitting.updates import update_batches
from chg.selftest.planted import (
    copy_rows,
    planted_model,
)
from support.rows import ragged_data
from support.tiny_models import HEADS, LAYERS, make_model

LAMBDAS = torch.tensor([0.0, -0.1, 0.1, 0.3])


def optimized(fits: list[int], updates: int = 8, **settings: Any) -> tuple[Tensor, list[Update]]:
    """Logits of some of four fits on a random model, run together."""
    model, data = make_model("llama_grouped"), ragged_data()
    start = torch.cat([starting_logits(FitConfig(seed=i), (LAYERS, HEADS)) for i in range(4)])
    options = OptimizerOptions(lambdas=LAMBDAS[fits], schedule=Schedule(0.05), **settings)
    seen: list[Update] = []
    batches = update_batches(data, FitConfig(), updates)
    with open_engine(model) as engine:
        optimizer = GateOptimizer(engine, start[fits], FitConfig(), options)
        optimizer.run(batches, updates, metric_loss(engine, data.pad_id), seen.append)
    return optimizer.logits_of_heads(), seen


@pytest.mark.parametrize("per_pass", [None, 1, 3])
def test_fits_together_equal_each_alone(per_pass: int | None) -> None:
    together, updates = optimized([0, 1, 2, 3], fits_per_pass=per_pass)
    for i in range(4):
        alone, own = optimized([i])
        assert torch.allclose(together[i], alone[0], atol=1e-3)
        for many, one in zip(updates, own, strict=True):
            assert float(many.losses[i]) == pytest.approx(float(one.losses[0]), abs=1e-5)


def _ends(updates: list[Update]) -> list[int]:
    """The last update of every fit."""
    losses = torch.stack([update.losses for update in updates])
    return [int(ran.nonzero()[-1]) + 1 for ran in ~losses.isnan().T]


@pytest.mark.parametrize("total", [1, 2, 30, 500])
def test_updates_before_the_fall_do_not_depend_on_their_number(total: int) -> None:
    schedule = Schedule(0.05, 0.2, fall=0.4)
    longer = total + 7
    assert schedule.before_fall(total) <= schedule.before_fall(longer)
    before = range(1, schedule.before_fall(total) + 1)
    assert {schedule.at(step, total) for step in before} == {0.05}
    rates = [schedule.at(step, longer) for step in range(1, longer + 1)]
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] == pytest.approx(0.01)
    linear = Schedule(0.05, 0.2)
    assert linear.at(1, longer) == 0.05
    assert linear.at(longer, longer) == pytest.approx(0.01)


def test_a_settled_fit_stops_alone_and_keeps_its_gates() -> None:
    """The strongest pull closes all gates of a model that needs none; the others go on."""
    model, data = planted_model({}), copy_rows(64)
    start = torch.zeros(2, 2, 4)
    ends = []
    for settle in (True, False):
        options = OptimizerOptions(torch.tensor([1.0, 0.0]), Schedule(0.05, 1.0), settle=settle)
        seen: list[Update] = []
        total = 260
        with open_engine(model) as engine:
            optimizer = GateOptimizer(engine, start, FitConfig(), options)
            loss = metric_loss(engine, data.pad_id)
            optimizer.run(update_batches(data, FitConfig(), total), total, loss, seen.append)
            for fit, end in enumerate(_ends(seen)):
                earlier = seen[end * 4 // 5 - 1].logits[fit]
                assert torch.equal(optimizer.earlier_logits()[fit], earlier)
        ends.append((optimizer.logits_of_heads(), seen))
    (settled, few), (full, _) = ends
    losses = torch.stack([update.losses for update in few])
    stopped = int(losses[:, 0].isnan().nonzero()[0])
    assert stopped % 50 == 0
    assert stopped < 260
    assert torch.equal(few[stopped].logits[0], settled[0])
    assert torch.allclose(settled[0], full[0], atol=0.05)
    assert (torch.sigmoid(settled[0]) < 0.05).all()

"""Fitting: the objective, its gradient and step size, and what a fit leaves behind."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
import torch
from torch import Tensor

from chg import HeadGates, fit_gates
from chg.config.fitting import FitConfig
from chg.data import Batch
from chg.engine import Engine, Targets, open_engine
from chg.errors import ConfigError, DivergedError, MemoryRunsOutError
from chg.fitting.losses import contrast_objective, gate_regularizer, metric_loss
from chg.fitting.optimizer import GateOptimizer, Update, starting_logits
from chg.fitting.updates import MicroBatch, total_updates, update_batches
from chg.gating.gate_wrapper import gated
from chg.models import find_head_sites
from chg.selftest.naive import mean_logprob
from chg.selftest.planted import copy_rows, planted_model
from support.decoders import build
from support.rows import ragged_data
from support.tiny_models import HEADS, LAYERS, make_model


def test_sign_of_lambda() -> None:
    """Below 0 opens, above 0 closes (docs/method.md): on a task that no head matters for."""
    model, data = planted_model({}), copy_rows(64)
    for sign in (-1.0, 1.0):
        fitted = fit_gates(model, data, lambda_reg=sign * 0.1, max_steps=150, show_progress=False)
        values = fitted.gates.values
        assert (values > 0.9).all() if sign < 0 else (values < 0.1).all()


def test_an_update_moves_a_logit_by_8_lr_at_most_at_first() -> None:
    model, data = planted_model(), copy_rows(16)
    config = FitConfig(max_steps=1, lr=0.02)
    start = starting_logits(config, (2, 4)).clamp(-4, 4)
    end = fit_gates(model, data, config, show_progress=False).gates.logits
    moved = (end - start[0]).abs()
    assert moved.max() <= 8 * 0.02 * 1.001
    assert moved.max() > 8 * 0.02 * 0.9


def test_logits_stay_inside_unless_the_paper_is_reproduced() -> None:
    model, data = planted_model(), copy_rows(16)
    kept = fit_gates(model, data, lambda_reg=-0.5, max_steps=80, show_progress=False)
    assert kept.gates.logits.abs().max() <= 4
    start = HeadGates(torch.full((2, 4), -6.0))
    trapped = fit_gates(
        planted_model({}),
        data,
        init=start,
        lambda_reg=-0.5,
        max_steps=20,
        paper_clip=True,
        show_progress=False,
    )
    freed = fit_gates(
        planted_model({}), data, init=start, lambda_reg=-0.5, max_steps=20, show_progress=False
    )
    assert (freed.gates.logits > trapped.gates.logits + 1).all()


def test_regulariser() -> None:
    logits = torch.tensor([[[1.0, 2.0], [-9.0, 9.0]], [[0.0, 0.0], [0.0, 4.0]]])
    assert torch.equal(gate_regularizer(logits), torch.tensor([0.75, 1.0]))
    assert torch.equal(gate_regularizer(logits, per_head=True), torch.tensor([3.0, 4.0]))


def test_contrast_objective_is_bounded_below_only() -> None:
    retain, forget = torch.tensor([-1.0, -9.0, -0.1]), torch.tensor([-9.0, -1.0, -0.1])
    expected = torch.tensor([-5.0, 8.0, 0.0])
    assert torch.allclose(contrast_objective(retain, forget, alpha=1.0, bound=5.0), expected)
    assert torch.allclose(contrast_objective(retain, forget, alpha=0.0, bound=50.0), -retain)


def test_accumulated_micro_batches_equal_one_batch() -> None:
    model, data = planted_model(), copy_rows(32)
    whole = fit_gates(model, data, batch_size=4, show_progress=False)
    parts = fit_gates(model, data, batch_size=1, grad_accum_steps=4, show_progress=False)
    assert whole.updates == parts.updates == 24
    assert torch.allclose(whole.gates.logits, parts.gates.logits, atol=1e-3)


def test_same_seed_same_gates_and_same_order_of_rows() -> None:
    model, data = make_model("gpt2"), ragged_data()
    first = fit_gates(model, data, max_steps=5, show_progress=False)
    second = fit_gates(model, data, max_steps=5, show_progress=False)
    other = fit_gates(model, data, max_steps=5, seed=1, show_progress=False)
    assert torch.equal(first.gates.logits, second.gates.logits)
    assert not torch.equal(first.gates.logits, other.gates.logits)
    orders = [
        [row.ids for group in update_batches(data, config, 6) for b in group for row in b.sides[0]]
        for config in (FitConfig(lambda_reg=-0.1), FitConfig(lambda_reg=0.1))
    ]
    assert orders[0] == orders[1]


def test_number_of_updates() -> None:
    assert total_updates(FitConfig(), 256) == 192
    assert total_updates(FitConfig(max_steps=7), 256) == 7
    assert total_updates(FitConfig(epochs=1, batch_size=1, grad_accum_steps=4), 10) == 3
    groups = list(update_batches(copy_rows(10), FitConfig(), 8))
    assert [sum(len(batch.sides[0]) for batch in group) for group in groups] == [4, 4, 2] * 2 + [
        4,
        4,
    ]


def test_starts() -> None:
    values = torch.sigmoid(starting_logits(FitConfig(), (50, 40)))
    assert values.min() >= 0.0199
    assert values.max() <= 0.9801
    assert abs(float(values.mean()) - 0.5) < 0.02
    assert torch.allclose(
        torch.sigmoid(starting_logits(FitConfig(gate_init="0.3"), (1, 2))), torch.tensor(0.3)
    )
    assert torch.allclose(
        torch.sigmoid(starting_logits(FitConfig(gate_init="open"), (1, 2))), torch.tensor(0.98)
    )


def test_a_fit_leaves_the_model_as_it_was() -> None:
    model = make_model("llama").train()
    weights = copy.deepcopy(model.state_dict())
    fit_gates(model, ragged_data(), max_steps=3, held_out=ragged_data(2), show_progress=False)
    assert model.training
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert all(torch.equal(weights[k], v) for k, v in model.state_dict().items())
    assert not any(m._forward_pre_hooks for m in model.modules())


def test_figures_are_those_of_a_plain_evaluation() -> None:
    model, data, held_out = planted_model(), copy_rows(40), copy_rows(24, seed=9)
    fit = fit_gates(model, data, max_steps=30, held_out=held_out, show_progress=False)
    with torch.no_grad():
        assert fit.nll_ungated_train == pytest.approx(-float(mean_logprob(model, data)), abs=1e-5)
        with gated(model, fit.gates):
            gated_nll = -float(mean_logprob(model, held_out))
    assert fit.nll_gated_held_out == pytest.approx(gated_nll, abs=1e-5)
    assert fit.nll_gated_held_out < fit.nll_ungated_held_out
    assert len(fit.losses) == fit.updates == 30
    figures = fit.gates.metadata["figures"]
    assert figures["nll_gated_held_out"] == fit.nll_gated_held_out
    json.dumps(fit.gates.metadata)


def test_nan_stops_and_keeps_the_last_good_gates() -> None:
    model = planted_model()
    batches = list(update_batches(copy_rows(16), FitConfig(), 4))
    seen: list[Update] = []

    def loss(gates: Tensor, _which: Tensor, _batch: object) -> Tensor:
        value = gates.sum().view(1)
        return value * float("nan") if len(seen) == 2 else value

    config = FitConfig()
    with open_engine(model) as engine:
        optimizer = GateOptimizer(engine, starting_logits(config, (2, 4)), config)
        with pytest.raises(DivergedError, match="update 3") as caught:
            optimizer.run(batches, 4, loss, seen.append)
    (gates,) = caught.value.last_good
    assert torch.equal(gates.logits, seen[1].logits[0])
    assert torch.isfinite(gates.logits).all()


def test_the_last_good_gates_of_a_hybrid_have_no_heads_that_do_not_exist() -> None:
    model = build("lfm2_moe")
    exists = find_head_sites(model).existing()
    assert not exists.all()
    start = starting_logits(FitConfig(), tuple(exists.shape), fits=2)  # type: ignore[arg-type]

    def loss(gates: Tensor, _which: Tensor, _batch: object) -> Tensor:
        return gates.flatten(1).sum(1) * float("nan")

    with open_engine(model) as engine:
        optimizer = GateOptimizer(engine, start, FitConfig())
        batches = update_batches(copy_rows(4), FitConfig(), 1)
        with pytest.raises(DivergedError) as caught:
            optimizer.run(batches, 1, loss, lambda _: None)
    assert len(caught.value.last_good) == 2
    for gates in caught.value.last_good:
        assert isinstance(gates, HeadGates)
        assert torch.equal(gates.exists, exists)


def test_init_of_another_shape_is_refused() -> None:
    with pytest.raises(ConfigError, match="belong to another model"):
        fit_gates(planted_model(), copy_rows(8), init=HeadGates(torch.zeros(3, 4)))


def test_tokens_per_pass_change_no_update() -> None:
    """The same rows per update in passes of like length; the sums differ in rounding alone."""
    model, data = make_model("gpt2"), ragged_data()
    whole = fit_gates(model, data, max_steps=4, show_progress=False)
    parts = fit_gates(model, data, max_steps=4, batch_tokens=12, show_progress=False)
    assert torch.allclose(whole.gates.logits, parts.gates.logits, atol=1e-3)
    for group in update_batches(data, FitConfig(), 4, tokens=12):
        assert sum(batch.share for batch in group) == pytest.approx(1)
        for batch in group:
            rows = batch.sides[0]
            assert len(rows) == 1 or len(rows) * max(len(row.ids) for row in rows) <= 12


def test_memory_that_runs_out_halves_the_fits_first(caplog: pytest.LogCaptureFixture) -> None:
    model, data = make_model("gpt2"), ragged_data()
    start = torch.cat([starting_logits(FitConfig(seed=i), (LAYERS, HEADS)) for i in range(5)])
    sizes: list[int] = []

    def small_memory(gates: Tensor, which: Tensor, micro_batch: MicroBatch) -> Tensor:
        sizes.append(len(gates))
        if len(gates) > 2:
            raise torch.OutOfMemoryError("device out of memory")
        return plain(gates, which, micro_batch)

    ends = []
    with open_engine(model) as engine:
        plain = metric_loss(engine, data.pad_id)
        for loss in (plain, small_memory):
            optimizer = GateOptimizer(engine, start, FitConfig())
            optimizer.run(update_batches(data, FitConfig(), 3), 3, loss, lambda _: None)
            ends.append(optimizer.logits_of_heads())
    assert torch.allclose(*ends, atol=1e-3)
    assert sizes == [5, 2, 2, 1] + [2, 2, 1] * 2
    assert caplog.text.count("2 fits per pass") == 1


def test_memory_that_runs_out_halves_the_rows_and_changes_no_gradient(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, data = make_model("gpt2"), ragged_data()
    expected = fit_gates(model, data, max_steps=4, show_progress=False)
    sizes: list[int] = []

    real = Engine.measure

    def small_memory(engine: Engine, gates: Tensor, batch: Batch, *targets: Targets) -> Tensor:
        sizes.append(len(batch))
        if len(batch) > 1:
            raise torch.OutOfMemoryError("device out of memory")
        return real(engine, gates, batch, *targets)

    monkeypatch.setattr(Engine, "measure", small_memory)
    got = fit_gates(model, data, max_steps=4, show_progress=False)
    assert torch.allclose(expected.gates.logits, got.gates.logits, atol=1e-3)
    assert caplog.text.count("memory ran out") == 2  # 4 rows, 2 rows, and never tried again
    assert sizes[:3] == [4, 2, 1]
    assert sizes[3:] == [1] * len(sizes[3:])

    def no_memory(*_: Any) -> Tensor:
        raise torch.OutOfMemoryError("device out of memory")

    monkeypatch.setattr(Engine, "measure", no_memory)
    with pytest.raises(MemoryRunsOutError, match="a single row"):
        fit_gates(model, data, max_steps=4, show_progress=False)

"""The log-probabilities that a fit sees, against one plain pass per row."""

from __future__ import annotations

import torch
from torch import Tensor

from chg.data.batches import collate
from chg.gating.gate_wrapper import gated
from support.engines import open_plain_engine
from support.rows import ragged_data
from support.tiny_models import HEADS, LAYERS, compute_in_float64, make_model


def test_loss_is_the_mean_over_rows_of_the_mean_over_targets() -> None:
    model, data = make_model("llama_grouped"), ragged_data()
    gates = torch.rand(1, LAYERS, HEADS, generator=torch.Generator().manual_seed(0))
    with open_plain_engine(model) as engine:
        got = engine.measure(gates, collate(data.rows, 0))[0]
    with gated(model, gates[0]), torch.no_grad():
        for i, row in enumerate(data.rows):
            logprobs = model(torch.tensor([row.ids])).logits[0].log_softmax(-1)
            targets = [logprobs[j - 1, t] for j, t in enumerate(row.ids) if row.scored[j]]
            assert abs(float(got[i]) - float(torch.stack(targets).mean())) < 1e-5


def test_fits_side_by_side_equal_fits_alone() -> None:
    model, batch = make_model("gpt2"), collate(ragged_data().rows, 0)
    gates = torch.rand(3, LAYERS, HEADS, generator=torch.Generator().manual_seed(1))
    with open_plain_engine(model) as engine:
        together = engine.measure(gates, batch)
        for k in range(3):
            alone = engine.measure(gates[k : k + 1], batch)[0]
            assert torch.allclose(together[k], alone, atol=1e-5)


def test_gradient_of_the_loss_against_finite_differences() -> None:
    model, batch = compute_in_float64(make_model("mistral")), collate(ragged_data().rows, 0)
    gates = torch.full((1, LAYERS, HEADS), 0.5, dtype=torch.float64, requires_grad=True)

    with open_plain_engine(model) as engine:

        def nll(values: Tensor) -> Tensor:
            return -engine.measure(values, batch).mean()

        nll(gates).backward()
        assert gates.grad is not None
        for index in [(0, 0, 1), (0, 1, 3)]:
            nudge = torch.zeros_like(gates)
            nudge[index] = 1e-5
            with torch.no_grad():
                slope = (nll(gates + nudge) - nll(gates - nudge)) / 2e-5
            assert abs(float(slope - gates.grad[index])) < 1e-6

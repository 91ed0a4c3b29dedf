"""Every metric, with the engine and all, against one plain pass per row and gate matrix."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import chg
from chg import evaluate, evaluate_gates, gated
from chg.config import Metric
from chg.data import score_at_foils, with_partners
from chg.data.tokens import TokenData, TokenRow
from chg.engine import capabilities, open_engine
from chg.engine.capabilities import Capabilities
from chg.errors import DataError
from support.tiny_models import VOCAB, make_model

METRICS: tuple[Metric, ...] = ("logprob", "logit_diff", "kl")
FAMILIES = ("llama_grouped", "gpt2", "opt", "gemma")


def rows_with_foils(rows: int = 6) -> TokenData:
    """Ragged rows, some of which begin alike, with a foil for one of several targets."""
    generator = torch.Generator().manual_seed(3)
    start = torch.randint(1, VOCAB, (8,), generator=generator).tolist()
    made = []
    for i in range(rows):
        rest = torch.randint(1, VOCAB, (3 + i,), generator=generator).tolist()
        ids = [*start, *rest] if i % 2 else rest
        at = len(ids) - 1 - i % 2
        scored = tuple(j >= len(ids) - 2 for j in range(len(ids)))
        made.append(TokenRow(tuple(ids), scored, foil=(at, (ids[at] + 5) % VOCAB)))
    return TokenData(tuple(made), "rows", 0)


def plain_metric(model: nn.Module, row: TokenRow, gates: Tensor, metric: Metric) -> Tensor:
    """Metric of every target of a row: a plain pass with the gates, and one without."""
    ids = torch.tensor([row.ids])
    with gated(model, gates):
        logits = model(ids).logits[0].double()
    if metric == "logit_diff":
        at, foil = row.foil
        return (logits[at - 1, row.ids[at]] - logits[at - 1, foil])[None]
    places = [i for i, scored in enumerate(row.scored) if scored]
    logprobs = logits.log_softmax(-1)
    if metric == "logprob":
        return torch.stack([logprobs[i - 1, row.ids[i]] for i in places])
    expected = model(ids).logits[0].double().log_softmax(-1)
    divergence = (expected.exp() * (expected - logprobs)).sum(-1)
    return torch.stack([-divergence[i - 1] for i in places])


def some_gates(model: nn.Module, matrices: int = 5) -> Tensor:
    shape = chg.find_head_sites(model).shape
    gates = torch.rand(matrices, *shape, generator=torch.Generator().manual_seed(1))
    gates[1] = 1
    gates[2:] = gates[2:].round()
    return gates


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("mode", ["layers", "whole"])
def test_models_that_allow_less_give_the_same(
    mode: str, metric: Metric, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model("gpt2")
    outputs = capabilities(model).outputs if mode == "layers" else None
    monkeypatch.setattr("chg.engine.engine.capabilities", lambda _: Capabilities(mode, outputs))  # type: ignore[arg-type]
    test_scores_are_those_of_plain_passes("gpt2", metric)
    test_gradients_are_those_of_plain_passes("gpt2", metric)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("family", FAMILIES)
def test_scores_are_those_of_plain_passes(family: str, metric: Metric) -> None:
    model, data = make_model(family).double(), rows_with_foils()
    gates = some_gates(model)
    found = evaluate_gates(model, data, gates, metric=metric)
    with torch.no_grad():
        expected = [
            [float(plain_metric(model, row, matrix, metric).sum()) for row in data.rows]
            for matrix in gates
        ]
    assert np.abs(np.array([scores.sums for scores in found]) - expected).max() < 1e-6
    targets = len(data) if metric == "logit_diff" else data.num_target_tokens
    assert found[0].metric == pytest.approx(sum(expected[0]) / targets)
    assert found[1].metric == pytest.approx(evaluate(model, data, metric=metric).metric)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_are_those_of_plain_passes(family: str, metric: Metric) -> None:
    model, data = make_model(family).double(), rows_with_foils()
    prepared = score_at_foils(data) if metric == "logit_diff" else data
    gates = some_gates(model, 2).double()
    ours, plain = gates.clone().requires_grad_(), gates.clone().requires_grad_()
    with open_engine(model, metric=metric) as engine:
        means = engine.measure(ours, engine.batch(prepared.rows, 0))
        (got,) = torch.autograd.grad(means.sum(), ours)
    expected = [
        torch.stack([plain_metric(model, row, one, metric).mean() for row in data.rows])
        for one in plain
    ]
    (wanted,) = torch.autograd.grad(torch.stack(expected).sum(), plain)
    assert torch.allclose(means, torch.stack(expected).detach(), atol=1e-6)
    assert torch.allclose(got, wanted * chg.find_head_sites(model).existing(), atol=1e-6)


@pytest.mark.parametrize("metric", METRICS)
def test_ablation_and_its_estimate_measure_it(metric: Metric) -> None:
    model, data = make_model("llama_grouped").double(), rows_with_foils()
    result = chg.ablate_heads(model, data, metric=metric, show_progress=False)
    ones = torch.ones(result.shape)
    with torch.no_grad():
        for layer, head in ((0, 0), (1, 2)):
            closed = ones.clone()
            closed[layer, head] = 0
            change = [
                plain_metric(model, row, closed, metric).sum()
                - plain_metric(model, row, ones, metric).sum()
                for row in data.rows
            ]
            targets = len(data) if metric == "logit_diff" else data.num_target_tokens
            assert result.scores[layer, head] == pytest.approx(float(sum(change)) / targets)
    if metric == "kl":
        assert abs(result.baseline) < 1e-9
        assert (result.scores < 1e-9).all()
    estimate = chg.ablate_heads(model, data, metric=metric, mode="estimate", show_progress=False)
    assert estimate.baseline == pytest.approx(result.baseline, abs=1e-9)
    assert np.corrcoef(estimate.scores.ravel(), result.scores.ravel())[0, 1] > 0.5


@pytest.mark.parametrize("metric", METRICS)
def test_screening_corrects_the_metric(metric: Metric) -> None:
    model, data = make_model("llama_grouped"), rows_with_foils()
    gates = some_gates(model)
    plain = evaluate_gates(model, data, gates, metric=metric)
    against = evaluate_gates(model, data, gates, metric=metric, controls=True)
    for one, other in zip(plain, against, strict=True):
        assert np.allclose(one.sums, other.sums, atol=1e-5)


@pytest.mark.parametrize("metric", METRICS)
def test_heads_may_come_from_elsewhere(metric: Metric) -> None:
    model, data = make_model("llama_grouped").double(), with_partners(rows_with_foils(), 0)
    reference = chg.make_reference(model, data, "resample")
    (found,) = evaluate_gates(model, data, [torch.zeros(2, 4)], metric=metric, reference=reference)
    opened = evaluate(model, data, metric=metric)
    assert np.abs(found.sums - opened.sums).max() > 1e-4


def test_a_fit_by_any_metric_keeps_it() -> None:
    model, data = make_model("llama_grouped"), rows_with_foils()
    costs = {}
    for metric in METRICS:
        fit = chg.fit_gates(
            model, data, metric=metric, max_steps=150, lr=0.05, batch_size=6, show_progress=False
        )
        assert fit.losses[-1] < fit.losses[0]
        costs[metric] = -evaluate(model, data, fit.gates, metric="kl").metric
    assert costs["kl"] < min(costs["logprob"], costs["logit_diff"])


def test_rows_without_foils_are_refused() -> None:
    model, data = make_model("gpt2"), rows_with_foils()
    without = replace(data, rows=tuple(replace(row, foil=None) for row in data.rows))
    for call in (evaluate, chg.ablate_heads, chg.fit_gates, chg.study):
        with pytest.raises(DataError, match="no wrong answers"):
            call(model, without, metric="logit_diff")
    with open_engine(model, metric="logit_diff") as engine, pytest.raises(DataError, match="score"):
        engine.measure(torch.ones(1, 2, 4), engine.batch(without.rows, 0))

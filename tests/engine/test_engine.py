"""The engine against plain passes: one full forward per gate matrix and row, nothing shared."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from chg.config.choices import Recompute
from chg.data.batches import batches, collate, gather
from chg.data.tokens import TokenData, TokenRow
from chg.engine.capabilities import Capabilities, capabilities
from chg.engine.engine import open_engine
from chg.engine.evaluation import evaluate_gates
from chg.engine.prefix_tree import build_tree
from chg.engine.score_tree import TreeScorer
from chg.engine.target_scores import on_device_of
from chg.errors import ConfigError, GateError
from chg.gating.gate_wrapper import gated
from support.engines import open_plain_engine
from support.gates import hooks, individual
from support.precision import bound
from support.rows import few_shot, plain_sums, ragged_data
from support.tiny_models import HEADS, LAYERS, VOCAB, compute_in_float64, make_model

SHAPE = (LAYERS, HEADS)


def plain(model: nn.Module, data: TokenData, matrices: list[Tensor]) -> np.ndarray:
    """`[matrix, row]` sums of target log-probabilities."""
    sums = []
    for gates in matrices:
        with gated(model, gates):
            sums.append(plain_sums(model, data))
    return np.array(sums)


def engine(model: nn.Module, data: TokenData, matrices: list[Tensor], **how: int) -> np.ndarray:
    return np.array([s.logprob_sums for s in evaluate_gates(model, data, matrices, **how)])


def test_every_family_starts_inside_its_layers(model: nn.Module) -> None:
    assert capabilities(model).mode == "inside"


gate = st.sampled_from([0.0, 0.0, 1.0, 1.0, 0.3])


row = st.tuples(*[gate] * HEADS)


few_rows = st.lists(row, min_size=1, max_size=3)


@settings(max_examples=40, deadline=None)
@given(
    pool=few_rows,
    picks=st.lists(st.tuples(*[st.integers(0, 2)] * LAYERS), min_size=1, max_size=9),
    tokens=st.integers(1, 60),
    batch_size=st.integers(1, 5),
    family=st.sampled_from(["gpt2", "llama_grouped", "gpt_neox", "opt"]),
)
def test_any_list_of_gate_matrices(
    pool: list[tuple[float, ...]],
    picks: list[tuple[int, ...]],
    tokens: int,
    batch_size: int,
    family: str,
) -> None:
    """Layers drawn from few rows, so that prefixes, and whole matrices, are often shared."""
    matrices = [torch.tensor([pool[i % len(pool)] for i in pick]) for pick in picks]
    model, data = compute_in_float64(make_model(family)), ragged_data()
    got = engine(model, data, matrices, tokens_per_pass=tokens, batch_size=batch_size)
    assert np.abs(got - plain(model, data, matrices)).max() < bound(model)


@pytest.mark.parametrize("tokens", [1, 17, 100, 10_000])
def test_passes_of_any_size_give_the_same(model: nn.Module, tokens: int) -> None:
    data, matrices = ragged_data(), individual()
    got = engine(model, data, matrices, tokens_per_pass=tokens)
    assert np.abs(got - plain(model, data, matrices)).max() < bound(model)


@pytest.mark.parametrize("mode", ["layers", "whole"])
def test_models_that_allow_less_give_the_same(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, data, matrices = make_model("gpt2").double(), ragged_data(), individual()
    outputs = capabilities(model).outputs if mode == "layers" else None
    monkeypatch.setattr("chg.engine.engine.capabilities", lambda _: Capabilities(mode, outputs))  # type: ignore[arg-type]
    got = engine(model, data, matrices)
    assert np.abs(got - plain(model, data, matrices)).max() < bound(model)


def test_targets_anywhere(model: nn.Module) -> None:
    ids = torch.randint(1, VOCAB, (4, 9), generator=torch.Generator().manual_seed(2)).tolist()
    places = [{1}, {8}, {1, 4, 8}, set(range(1, 9))]
    rows = [
        TokenRow(tuple(row), tuple(j in where for j in range(9)))
        for row, where in zip(ids, places, strict=True)
    ]
    data = TokenData(tuple(rows), "anywhere", 0)
    got = engine(model, data, individual())
    assert np.abs(got - plain(model, data, individual())).max() < bound(model)


def test_branches_are_computed_only_where_they_differ() -> None:
    """Individual ablation: as many states at layer l as 1 + H (l + 1), not one per matrix."""
    root = build_tree(individual())
    assert [child.start for child in root.children] == [0] * HEADS + [1] * HEADS
    chain = [torch.ones(SHAPE)]
    for place in range(LAYERS * HEADS):
        chain.append(chain[-1].clone())
        chain[-1].view(-1)[place] = 0
    states = [0] * LAYERS
    growing = [build_tree(chain)]
    while growing:
        branch = growing.pop()
        growing += branch.children
        for layer in range(branch.start, LAYERS):
            states[layer] += 1
    assert states == [1 + HEADS * (layer + 1) for layer in range(LAYERS)]


def test_the_gradient_is_that_of_a_plain_pass(model: nn.Module) -> None:
    batch = collate(ragged_data().rows, 0)
    start = torch.rand(3, *SHAPE, generator=torch.Generator().manual_seed(0)).double()
    gradients, losses = [], []
    for opened in (open_plain_engine, open_engine):
        gates = start.clone().requires_grad_()
        with opened(model) as engine:
            logprobs = engine.measure(gates, batch)
            weights = torch.linspace(0.5, 2, logprobs.numel()).view_as(logprobs)
            (logprobs * weights).sum().backward()
        assert gates.grad is not None
        gradients.append(gates.grad)
        losses.append(logprobs.detach())
    assert (losses[0] - losses[1]).abs().max() < bound(model)
    assert (gradients[0] - gradients[1]).abs().max() < bound(model)


@pytest.mark.parametrize("recompute", ["mlp", "layer"])
def test_recomputing_changes_no_gradient(
    recompute: Recompute, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Their hooks would hide from `count` what an MLP keeps.
    monkeypatch.setattr("chg.engine.activations.KEEP_THEIR_INPUT", set())
    batch = collate(ragged_data().rows, 0)
    for family in ("gpt2", "llama_grouped", "gpt_neox"):
        model = make_model(family).double()
        gradients = []
        for how in ("none", recompute):
            gates = torch.full((1, *SHAPE), 0.5, dtype=torch.float64, requires_grad=True)
            kept = 0

            def count(tensor: Tensor) -> Tensor:
                nonlocal kept
                kept += tensor.numel()
                return tensor

            with open_engine(model, recompute=how) as engine:
                with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
                    loss = engine.measure(gates, batch).sum()
                loss.backward()
            assert gates.grad is not None
            gradients.append((gates.grad, kept))
        (expected, all_kept), (got, less_kept) = gradients
        assert torch.equal(got, expected)
        assert less_kept < all_kept


def test_recomputing_says_where_it_cannot() -> None:
    with pytest.raises(ConfigError, match="no MLP of their own"):
        open_engine(make_model("opt"), recompute="mlp").__enter__()


def test_logits_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chg.engine.target_scores.PIECE", 3)
    test_the_gradient_is_that_of_a_plain_pass(make_model("gpt2").double())
    test_targets_anywhere(make_model("gpt2").double())


def test_an_interruption_leaves_the_model_as_it_was() -> None:
    model = make_model("llama").double()
    capabilities(model)
    before = hooks(model)

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate_gates(model, ragged_data(), individual(), on_progress=interrupt)
    assert hooks(model) == before
    assert not any("forward" in module.__dict__ for module in model.modules())
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_progress_adds_up() -> None:
    shares: list[float] = []
    evaluate_gates(make_model("gpt2"), ragged_data(), individual(), on_progress=shares.append)
    assert sum(shares) == pytest.approx(1)


@pytest.mark.parametrize("known", [True, False])
def test_gates_under_other_gates(model: nn.Module, known: bool) -> None:
    """A context of the user's own stays in force below the engine."""
    outer = torch.full(SHAPE, 0.5)
    if known:
        assert capabilities(model).mode == "inside"
    data, matrices = ragged_data(), individual()
    with gated(model, outer):
        got = engine(model, data, matrices)
    expected = plain(model, data, [outer * gates for gates in matrices])
    assert np.abs(got - expected).max() < bound(model)


def test_wrong_gates_are_refused() -> None:
    with pytest.raises(GateError, match="must lie in"):
        evaluate_gates(make_model("gpt2"), ragged_data(), [torch.full(SHAPE, 2.0)])


def test_few_states_wait() -> None:
    """Few states wait at a time, whatever the list: those of the layers on the way down."""
    model = make_model("gpt2").double()
    batch = collate(ragged_data().rows[:1], 0)
    gates = torch.stack(individual())
    with open_engine(model) as engine:
        assert engine.forward is not None
        scorer = TreeScorer(engine.forward, gates, 6)
        sizes = [len(matrices) for matrices, _ in scorer.score(batch)]
    assert max(sizes) <= 2
    assert sum(sizes) == len(gates)


def test_a_common_beginning_is_computed_once(model: nn.Module) -> None:
    data = few_shot()
    got = engine(model, data, individual())
    assert np.abs(got - plain(model, data, individual())).max() < bound(model)
    groups = {tuple(sorted(rows)): batch for rows, batch in batches(data, 4, None, 1024)}
    assert set(groups) == {(0, 1, 2, 3), (4, 5)}
    tokens = sum(batch.input_ids.numel() for batch in groups.values())
    assert tokens == 12 + 9 + sum(1 + i % 4 for i in range(6))


def test_which_families_share_beginnings(model: nn.Module) -> None:
    assert capabilities(model).max_shared_length > 0


def test_a_window_of_attention_limits_sharing() -> None:
    assert capabilities(make_model("mistral", sliding_window=7)).max_shared_length == 7


@settings(max_examples=25, deadline=None)
@given(
    common=st.lists(st.integers(1, VOCAB - 1), max_size=8),
    rests=st.lists(st.lists(st.integers(1, VOCAB - 1), max_size=5), min_size=1, max_size=5),
    seed=st.integers(0, 5),
)
def test_rows_that_begin_alike(common: list[int], rests: list[list[int]], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for rest in rests:
        ids = (1, 2, *common, *rest)
        scored = (torch.rand(len(ids), generator=generator) < 0.5).tolist()
        rows.append(TokenRow(ids, (False, *scored[1:-1], True)))
    data, model = TokenData(tuple(rows), "alike", 0), make_model("gpt2").double()
    matrices = individual()[:4]
    got = engine(model, data, matrices)
    assert np.abs(got - plain(model, data, matrices)).max() < bound(model)


def test_fitting_shares_beginnings() -> None:
    model, data = make_model("gpt2").double(), few_shot()
    gates = torch.full((2, *SHAPE), 0.5, dtype=torch.float64, requires_grad=True)
    rows = data.rows[:4]
    together, apart = (
        on_device_of(model, batch) for batch in (gather(rows, 0, 1024), collate(rows, 0))
    )
    assert together.input_ids.shape[0] == 1
    with open_engine(model) as engine:
        gradients = []
        for batch in (together, apart):
            logprobs = engine.measure(gates, batch)
            assert logprobs.shape == (2, 4)
            gradients.append(torch.autograd.grad(logprobs.square().sum(), gates)[0])
    assert (gradients[0] - gradients[1]).abs().max() < bound(model)


def test_controls_cancel_and_change_nothing_in_exact_arithmetic(model: nn.Module) -> None:
    data, matrices = ragged_data(), individual()
    plain = evaluate_gates(model, data, matrices, tokens_per_pass=40)
    controlled = evaluate_gates(model, data, matrices, tokens_per_pass=40, controls=True)
    tolerance = bound(model)
    for one, other in zip(plain, controlled, strict=True):
        assert other.logprob_sums == pytest.approx(one.logprob_sums, abs=tolerance)
        assert (other.correct == one.correct).all()

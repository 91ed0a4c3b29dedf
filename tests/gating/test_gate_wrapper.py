"""Gates do exactly what they say, on every family, and leave nothing behind."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import chg
from chg.errors import GateError
from chg.gating.gate_wrapper import attach, gated, get_attention_module
from chg.models.architectures import find_head_sites
from chg.models.modes import frozen
from support.gates import hooks, logits, tokens, zero_columns
from support.odd_model import Odd
from support.precision import bound
from support.tiny_models import HEADS, LAYERS, compute_in_float64, make_model


def test_gates_of_one_are_bit_identical(family: str) -> None:
    for dtype in (torch.float32, torch.bfloat16, torch.float64):
        model = make_model(family).to(dtype)
        plain = logits(model, tokens())
        with gated(model, torch.ones(LAYERS, HEADS)):
            assert torch.equal(logits(model, tokens()), plain)
        with gated(model, torch.ones(3, LAYERS, HEADS)):
            assert torch.equal(logits(model, tokens()), plain)


def test_gate_zero_equals_zeroed_columns(model: nn.Module) -> None:
    tolerance = bound(model)
    for layer in range(LAYERS):
        for head in range(HEADS):
            gates = torch.ones(LAYERS, HEADS)
            gates[layer, head] = 0
            with gated(model, gates):
                closed = logits(model, tokens())
            expected = logits(zero_columns(model, layer, head), tokens())
            assert (closed - expected).abs().max() < tolerance
            assert (closed - logits(model, tokens())).abs().max() > 1e-6


def test_folding_soft_gates_into_the_weights_equals_gating(model: nn.Module) -> None:
    gates = torch.rand(LAYERS, HEADS, generator=torch.Generator().manual_seed(2))
    folded = copy.deepcopy(model)
    with torch.no_grad():
        for site in find_head_sites(folded):
            scale = gates[site.layer].double().repeat_interleave(site.head_dim)
            transposed = type(site.projection).__name__ == "Conv1D"
            site.projection.weight *= scale[:, None] if transposed else scale[None, :]
    with gated(model, gates):
        assert (logits(model, tokens()) - logits(folded, tokens())).abs().max() < bound(model)


def test_one_gate_matrix_per_row(model: nn.Module) -> None:
    ids, tolerance = tokens(), bound(model)
    gates = torch.rand(3, LAYERS, HEADS, generator=torch.Generator().manual_seed(3))
    with gated(model, gates):
        together = logits(model, ids)
    for row in range(3):
        with gated(model, gates[row]):
            alone = logits(model, ids[row : row + 1])
        assert (together[row] - alone[0]).abs().max() < tolerance


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_on_either_side(model: nn.Module, side: str) -> None:
    gates = torch.rand(2, LAYERS, HEADS, generator=torch.Generator().manual_seed(4))
    rows = [tokens(1, 7, seed=5)[0], tokens(1, 4, seed=6)[0]]
    ids, mask = torch.zeros(2, 7, dtype=torch.long), torch.zeros(2, 7, dtype=torch.long)
    places = []
    for i, row in enumerate(rows):
        place = slice(7 - len(row), 7) if side == "left" else slice(0, len(row))
        ids[i, place], mask[i, place] = row, 1
        places.append(place)
    tolerance = bound(model)
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    with gated(model, gates):
        padded = logits(model, ids, attention_mask=mask, position_ids=positions)
    for i, row in enumerate(rows):
        with gated(model, gates[i]):
            alone = logits(model, row[None])
        assert (padded[i, places[i]] - alone[0]).abs().max() < tolerance


def test_gradient_against_finite_differences(model: nn.Module) -> None:
    gates = torch.full((LAYERS, HEADS), 0.6, dtype=torch.float64, requires_grad=True)
    ids = tokens()

    def loss(values: Tensor) -> Tensor:
        with gated(model, values):
            output = model(input_ids=ids, use_cache=False).logits
        return -output.log_softmax(-1)[..., 3].mean()

    with frozen(model):
        loss(gates).backward()
        assert gates.grad is not None
        step = 1e-5
        for layer in range(LAYERS):
            for head in range(HEADS):
                nudge = torch.zeros_like(gates)
                nudge[layer, head] = step
                with torch.no_grad():
                    slope = (loss(gates + nudge) - loss(gates - nudge)) / (2 * step)
                assert abs(float(slope - gates.grad[layer, head])) < 1e-6


def test_generate_under_gates_is_the_folded_models(model: nn.Module) -> None:
    gates = torch.ones(LAYERS, HEADS)
    gates[0, 1] = 0
    ids = tokens(2, 4)
    settings = {"max_new_tokens": 6, "do_sample": False, "pad_token_id": 0}
    mask = torch.ones_like(ids)
    with gated(model, gates):
        cached = model.generate(ids, attention_mask=mask, **settings)
        uncached = model.generate(ids, attention_mask=mask, use_cache=False, **settings)
    edited = zero_columns(model, 0, 1).generate(ids, attention_mask=mask, **settings)
    assert torch.equal(cached, uncached)
    assert torch.equal(cached, edited)


def test_contexts_nest_and_multiply(model: nn.Module) -> None:
    outer, inner = torch.full((LAYERS, HEADS), 0.5), torch.full((LAYERS, HEADS), 0.25)
    plain = logits(model, tokens())
    with gated(model, outer):
        with gated(model, inner):
            both = logits(model, tokens())
        only_outer = logits(model, tokens())
    with gated(model, outer * inner):
        assert (logits(model, tokens()) - both).abs().max() < bound(model)
    with gated(model, outer):
        assert torch.equal(logits(model, tokens()), only_outer)
    assert torch.equal(logits(model, tokens()), plain)


def test_nothing_is_left_behind_even_after_an_error(model: nn.Module) -> None:
    model.train()
    model.get_submodule(find_head_sites(model)[0].path).requires_grad_(False)
    flags = [(p.requires_grad) for p in model.parameters()]
    weights = copy.deepcopy(model.state_dict())

    def fail_inside() -> None:
        with gated(model, torch.ones(LAYERS, HEADS)), frozen(model):
            assert hooks(model) == LAYERS
            raise KeyError

    with pytest.raises(KeyError):
        fail_inside()
    assert hooks(model) == 0
    assert model.training
    assert all(module.training for module in model.modules())
    assert [p.requires_grad for p in model.parameters()] == flags
    assert all(torch.equal(weights[name], value) for name, value in model.state_dict().items())


def test_a_half_registered_context_is_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model("llama")
    last = find_head_sites(model)[-1].projection

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no more hooks")

    with gated(model, torch.ones(LAYERS, HEADS)):
        pass
    monkeypatch.setattr(last, "register_forward_pre_hook", fail)
    with pytest.raises(RuntimeError, match="no more hooks"):
        attach(model, torch.ones(LAYERS, HEADS))
    assert hooks(model) == 0


def test_gates_stay_float32_under_bfloat16() -> None:
    model = make_model("llama").bfloat16()
    gates = torch.full((LAYERS, HEADS), 0.5, requires_grad=True)
    with gated(model, gates) as handle:
        assert handle.gates.dtype == torch.float32
        model(input_ids=tokens()).logits.float().sum().backward()
    assert gates.grad is not None
    assert gates.grad.dtype == torch.float32


@pytest.mark.parametrize(
    ("gates", "message"),
    [
        (torch.ones(LAYERS, HEADS + 2), "do not fit this model"),
        (torch.full((LAYERS, HEADS), 3.0), "must lie in"),
        (torch.full((LAYERS, HEADS), float("nan")), "must lie in"),
    ],
)
def test_wrong_gates_are_refused(gates: Tensor, message: str) -> None:
    with pytest.raises(GateError, match=message):
        attach(make_model("gpt2"), gates)


def test_wrong_batch_is_refused() -> None:
    model = make_model("gpt2")
    with gated(model, torch.ones(2, LAYERS, HEADS)), pytest.raises(GateError, match="one per row"):
        logits(model, tokens(3))


def test_get_attention_module() -> None:
    model = make_model("opt")
    assert get_attention_module(model, 1) is model.model.decoder.layers[1].self_attn
    with pytest.raises(GateError, match="layers 0 to 1"):
        get_attention_module(model, 2)


def test_layers_that_run_more_than_once_are_gated_every_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("chg.models.layouts._registered", {})
    model = Odd(uses=2)
    chg.register_architecture("odd", attention="mixer", projection="out")
    with gated(model, torch.zeros(LAYERS, HEADS)):
        assert torch.equal(model(tokens()).logits, model.embed(tokens()))


@settings(max_examples=20, deadline=None)
@given(st.lists(st.sampled_from([0.0, 0.3, 1.0]), min_size=8, max_size=8))
def test_any_gates_equal_folded_weights(values: list[float]) -> None:
    gates = torch.tensor(values).view(LAYERS, HEADS)
    model = compute_in_float64(make_model("llama_head_dim"))
    folded = copy.deepcopy(model)
    with torch.no_grad():
        for site in find_head_sites(folded):
            site.projection.weight *= gates[site.layer].double().repeat_interleave(site.head_dim)
    with gated(model, gates, check=False):
        assert (logits(model, tokens()) - logits(folded, tokens())).abs().max() < bound(model)

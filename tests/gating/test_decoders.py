"""Gates on tiny random models of the families people use, each against plain weight edits."""

from __future__ import annotations

import copy
import inspect

import pytest
import torch
from torch import Tensor, nn

from chg import ablate_heads
from chg.engine.evaluation import evaluate_gates
from chg.errors import GateError
from chg.fitting.fit import fit_gates
from chg.gating.gate_wrapper import attach, gated
from chg.models.architectures import find_head_sites
from chg.models.modes import frozen
from support.decoders import build, fold, run, soft_gates, some_tokens
from support.precision import bound
from support.rows import ragged_data
from support.tiny_configs import VOCAB


def test_gates_do_what_weight_edits_do(decoder: nn.Module) -> None:
    soft, closed = soft_gates(decoder), torch.ones(find_head_sites(decoder).shape)
    closed[:, 1] = 0
    ids, tolerance = some_tokens(2, 6), bound(decoder)
    plain = run(decoder, ids)
    with gated(decoder, torch.ones_like(soft)):
        assert torch.equal(run(decoder, ids), plain)
    for gates in (soft, closed):
        with gated(decoder, gates):
            scaled = run(decoder, ids)
        assert (scaled - run(fold(decoder, gates), ids)).abs().max() < tolerance
        assert (scaled - plain).abs().max() > 1e-3
    with gated(decoder, torch.stack([soft, closed])):  # one matrix per row
        both = run(decoder, ids)
    for row, gates in enumerate((soft, closed)):
        with gated(decoder, gates):
            alone = run(decoder, ids)
        assert (both[row] - alone[row]).abs().max() < tolerance
    assert torch.equal(run(decoder, ids), plain)


def test_gradients_of_every_head_against_finite_differences(decoder: nn.Module) -> None:
    sites, ids = find_head_sites(decoder), some_tokens(1, 6)
    gates = torch.full(sites.shape, 0.5, dtype=torch.float64, requires_grad=True)

    def loss(values: Tensor) -> Tensor:
        with gated(decoder, values):
            logits = decoder(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False)
        return torch.log_softmax(logits.logits[0, -1], -1)[7]

    def slope(layer: int, head: int, step: float) -> float:
        nudge = torch.zeros_like(gates)
        nudge[layer, head] = step
        with torch.no_grad():
            return float(loss(gates + nudge) - loss(gates - nudge)) / (2 * step)

    with frozen(decoder):
        loss(gates).backward()
        assert gates.grad is not None
        for layer, head in sites.existing().nonzero().tolist():
            expected = float(gates.grad[layer, head])
            # A short step meets norms that compute in float32, a long one other experts' choice.
            assert any(
                abs(slope(layer, head, step) - expected) < 2e-4 + 1e-2 * abs(expected)
                for step in (1e-3, 1e-4, 1e-5)
            ), (layer, head)
            assert expected != 0
    assert not gates.grad[~sites.existing()].any()


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding(decoder: nn.Module, side: str) -> None:
    gates, ids = soft_gates(decoder), some_tokens(1, 6)
    folded = fold(decoder, gates)
    own = slice(0, 6) if side == "right" else slice(3, 9)
    padded, mask = torch.zeros(1, 9, dtype=torch.long), torch.zeros(1, 9, dtype=torch.long)
    padded[:, own], mask[:, own] = ids, 1
    inputs = {"attention_mask": mask}
    if "position_ids" in inspect.signature(decoder.forward).parameters:
        inputs["position_ids"] = (mask.cumsum(-1) - 1).clamp(min=0)
    with gated(decoder, gates):
        with_padding, without = run(decoder, padded, **inputs)[:, own], run(decoder, ids)
    of_folded = run(folded, padded, **inputs)[:, own]
    torch.testing.assert_close(with_padding, of_folded, rtol=0, atol=bound(decoder), equal_nan=True)
    plain = run(decoder, padded, **inputs)[:, own] - run(decoder, ids)
    if plain.abs().max() < 1e-5:
        assert (with_padding - without).abs().max() < 1e-5
    else:  # some families see padding on the left, with gates and without
        assert side == "left"


def test_generate(decoder: nn.Module) -> None:
    gates, ids = soft_gates(decoder), some_tokens(2, 5)
    settings = {"max_new_tokens": 5, "do_sample": False, "pad_token_id": 0}
    settings["attention_mask"] = torch.ones_like(ids)
    with gated(decoder, gates):
        cached = decoder.generate(ids, **settings)
        uncached = decoder.generate(ids, use_cache=False, **settings)
    assert torch.equal(cached, uncached)
    assert torch.equal(uncached, fold(decoder, gates).generate(ids, use_cache=False, **settings))


def test_latent_attention_has_heads_of_the_values_size() -> None:
    model = build("deepseek_v3")
    site = find_head_sites(model)[0]
    assert site.head_dim == model.config.v_head_dim  # type: ignore[union-attr]
    attach(model, torch.ones(find_head_sites(model).shape)).remove()


def test_a_gate_of_a_key_value_group_is_the_same_gate_on_its_heads() -> None:
    model = build("qwen3")
    sites = find_head_sites(model)
    assert (sites.shape, sites.group_shape) == ((4, 4), (4, 2))
    ids = torch.randint(3, VOCAB - 4, (2, 6), generator=torch.Generator().manual_seed(0))
    groups = torch.rand(sites.group_shape, generator=torch.Generator().manual_seed(1))
    with gated(model, groups):
        grouped = run(model, ids)
    with gated(model, groups.repeat_interleave(2, dim=1)):
        assert torch.equal(run(model, ids), grouped)
    data = ragged_data()
    fit = fit_gates(model, data, max_steps=2, unit="kv_group", show_progress=False)
    assert fit.gates.logits.shape == (4, 2)
    result = ablate_heads(model, data, unit="kv_group", gates=fit.gates, show_progress=False)
    assert result.shape == (4, 2)
    assert result.name(3, 1) == "L3G1"
    both = fit.gates.values.repeat_interleave(2, dim=1)
    for head in result.heads[:3]:
        closed = both.clone()
        closed[head.layer, 2 * head.head : 2 * head.head + 2] = 0
        before, after = evaluate_gates(model, data, [both, closed])
        expected = after.mean_target_logprob - before.mean_target_logprob
        assert head.score == pytest.approx(expected, abs=bound(model))
    with pytest.raises(GateError, match=r"4 heads, in 2 key-value groups"):
        attach(model, torch.ones(4, 3))
    with pytest.raises(GateError, match="--unit"):
        ablate_heads(model, data, gates=fit.gates, show_progress=False)


def test_layers_that_share_a_projection_take_turns() -> None:
    shared = build("llama")
    layers = shared.model.layers  # type: ignore[union-attr]
    layers[2].self_attn = layers[0].self_attn  # type: ignore[index, union-attr]
    apart = copy.deepcopy(shared)
    layer = apart.model.layers[2]  # type: ignore[union-attr, index]
    layer.self_attn = copy.deepcopy(layer.self_attn)
    ids, gates = some_tokens(2, 6), soft_gates(shared)
    with gated(apart, gates):
        expected = run(apart, ids)
    with gated(shared, gates):
        assert torch.equal(run(shared, ids), expected)
        failing = layers[1].register_forward_pre_hook(lambda *_: 1 / 0)  # type: ignore[index]
        with pytest.raises(ZeroDivisionError):  # half-way, between the two
            run(shared, ids)
        failing.remove()
        assert torch.equal(run(shared, ids), expected)
    together, alone = (
        evaluate_gates(model, ragged_data(), [gates])[0] for model in (shared, apart)
    )
    assert together.logprob_sums == pytest.approx(alone.logprob_sums, abs=bound(shared))

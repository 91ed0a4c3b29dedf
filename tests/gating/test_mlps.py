"""Gates on MLP blocks, on tiny random models of twenty families, against what is done by hand."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

import chg
from chg import HeadGates
from chg.errors import ArchitectureError, GateError
from chg.gating.gate_wrapper import attach, gated
from chg.gating.mlp_check import check_mlp_sites
from chg.gating.references import make_reference
from chg.gating.sources import describe_gates, gate_values, resolve_gates
from chg.models.architectures import find_head_sites, gate_shape
from chg.models.modes import frozen
from support.decoders import build, run, some_tokens
from support.gates import hooks, logits, tokens
from support.mlps import FAMILIES, decoder_layers, fold_all, mlps_by_hand, soft
from support.odd_model import Odd
from support.precision import bound
from support.rows import ragged_data
from support.tiny_configs import tiny_config
from support.tiny_models import HEADS, LAYERS, make_model, require_family

SHAPE = (LAYERS, HEADS + 1)


@pytest.fixture(params=FAMILIES)
def decoder(request: pytest.FixtureRequest) -> nn.Module:
    """A tiny random model in float64."""
    return build(request.param)


def close_mlps(model: nn.Module, *layers: int) -> Tensor:
    gates = torch.ones(find_head_sites(model).unit_shape("head_and_mlp"))
    gates[list(layers), -1] = 0
    return gates


def test_gates_do_what_other_weights_and_other_forwards_do(decoder: nn.Module) -> None:
    ids, tolerance = some_tokens(1, 6), bound(decoder)
    last = len(decoder_layers(decoder)) - 1
    plain, open_, mixed = run(decoder, ids), close_mlps(decoder), soft(decoder)
    with gated(decoder, open_):
        assert torch.equal(run(decoder, ids), plain)
    for layers in ((last,), tuple(range(last + 1))):
        gates = close_mlps(decoder, *layers)
        with gated(decoder, gates):
            closed = run(decoder, ids)
        with mlps_by_hand(decoder, gates[:, -1]):
            assert (closed - run(decoder, ids)).abs().max() < tolerance
        assert (closed - plain).abs().max() > 1e-3
    with gated(decoder, mixed):
        scaled = run(decoder, ids)
    assert (scaled - run(fold_all(decoder, mixed), ids)).abs().max() < tolerance
    assert torch.equal(run(decoder, ids), plain)


def test_a_matrix_per_row(decoder: nn.Module) -> None:
    ids, both = some_tokens(2, 6), torch.stack([soft(decoder), soft(decoder, 2)])
    with gated(decoder, both):
        together = run(decoder, ids)
    for row, gates in enumerate(both):
        with gated(decoder, gates):
            alone = run(decoder, ids)
        assert (together[row] - alone[row]).abs().max() < bound(decoder)


def test_a_layer_with_all_gates_closed_adds_a_constant(decoder: nn.Module) -> None:
    """Nothing of an MLP is left: what the layer adds does not depend on what enters it."""
    if decoder.config.model_type == "zamba2":  # type: ignore[union-attr]
        pytest.skip("its layers add more than attention and an MLP")
    site = find_head_sites(decoder)[-1]
    gates = close_mlps(decoder)
    gates[site.layer] = 0
    layer, passed = decoder_layers(decoder)[site.layer], []

    def note(_m: nn.Module, args: Any, settings: Any, output: Any) -> None:
        entering = args[0] if args else settings["hidden_states"]
        passed.append((output[0] if isinstance(output, tuple) else output) - entering)

    handle = layer.register_forward_hook(note, with_kwargs=True)
    with gated(decoder, gates):
        run(decoder, some_tokens(2, 6))
    handle.remove()
    added = passed[-1].flatten(0, 1)
    assert (added - added[0]).abs().max() < 1e-6


def test_gradients_against_finite_differences(decoder: nn.Module) -> None:
    ids = some_tokens(1, 6)
    gates = torch.full(gate_shape(decoder, "head_and_mlp"), 0.5, dtype=torch.float64)
    exists = find_head_sites(decoder).existing("head_and_mlp")

    def loss(values: Tensor) -> Tensor:
        with gated(decoder, values, check=False):
            out = decoder(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False)
        return torch.log_softmax(out.logits[0, -1], -1)[7]

    with frozen(decoder):
        leaf = gates.clone().requires_grad_()
        loss(leaf).backward()
        assert leaf.grad is not None
        for layer in exists[:, -1].nonzero().flatten().tolist():
            expected, slopes = float(leaf.grad[layer, -1]), []
            for step in (1e-3, 1e-4, 1e-5):
                nudge = torch.zeros_like(gates)
                nudge[layer, -1] = step
                with torch.no_grad():
                    slopes.append(float(loss(gates + nudge) - loss(gates - nudge)) / (2 * step))
            assert expected != 0
            assert any(abs(s - expected) < 2e-4 + 1e-2 * abs(expected) for s in slopes), layer
    assert not leaf.grad[~exists].any()


@pytest.mark.parametrize(("family", "mlps"), [("lfm2_moe", [0, 1, 2, 3]), ("zamba2", [1, 3])])
def test_layers_without_heads_or_without_an_mlp(family: str, mlps: list[int]) -> None:
    sites = find_head_sites(build(family))
    exists = sites.existing("head_and_mlp")
    assert exists[:, -1].nonzero().flatten().tolist() == mlps
    assert torch.equal(exists[:, :-1], sites.existing())


def test_several_parts_have_one_gate() -> None:
    """Granite's experts and the MLP that all tokens share are one block."""
    require_family("granitemoeshared")
    torch.manual_seed(0)
    config = tiny_config("granitemoeshared", shared_intermediate_size=48)
    model = AutoModelForCausalLM.from_config(config).eval()
    sites, ids = find_head_sites(model), some_tokens(2, 6)
    assert [site.path.rsplit(".")[-1] for site in sites.mlps[:2]] == [
        "block_sparse_moe",
        "shared_mlp",
    ]
    gates = close_mlps(model, 3)
    gates[3] = 0
    layer, passed = model.model.layers[3], []  # type: ignore[union-attr, index]
    layer.register_forward_hook(lambda _m, args, output: passed.append((args[0], output)))
    with gated(model, gates):
        run(model, ids)
    assert torch.equal(*passed[-1])


def test_a_reference_of_heads_alone_is_refused() -> None:
    model, data = make_model("gpt2"), ragged_data()
    heads = make_reference(model, data, "mean")
    both = make_reference(model, data, "mean", unit="head_and_mlp")
    assert heads is not None
    assert both is not None
    with pytest.raises(GateError, match=r'of heads alone.*make it with unit="head_and_mlp"'):
        attach(model, torch.ones(SHAPE), reference=heads.everywhere)
    with gated(model, torch.ones(LAYERS, HEADS), reference=both.everywhere):
        logits(model, tokens())


def test_gates_nest_and_are_replaced_and_leave_nothing() -> None:
    model = make_model("llama")
    plain, gates = logits(model, tokens()), soft(model).float()
    with gated(model, gates) as outer, gated(model, gates):
        twice = logits(model, tokens())
        outer.gates = gates[:, :-1]
        assert outer.unit == "head"
        heads_twice = logits(model, tokens())
    assert hooks(model) == 0
    squared = gates**2
    with gated(model, squared):
        assert (logits(model, tokens()) - twice).abs().max() < 1e-4
    squared[:, -1] = gates[:, -1]
    with gated(model, torch.ones(LAYERS, HEADS)) as handle:
        handle.gates = squared
        assert handle.unit == "head_and_mlp"
        assert (logits(model, tokens()) - heads_twice).abs().max() < 1e-4
    assert hooks(model) == 0
    assert torch.equal(logits(model, tokens()), plain)


def test_a_copy_of_a_gated_model_is_not_gated() -> None:
    model = make_model("llama")
    plain = logits(model, tokens())
    with gated(model, soft(model)):
        assert torch.equal(logits(copy.deepcopy(model), tokens()), plain)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype: torch.dtype) -> None:
    model = make_model("llama").to(dtype)
    gates = soft(model).float().requires_grad_()
    with gated(model, torch.ones(SHAPE)):
        opened = logits(model, tokens())
    assert torch.equal(opened, logits(model, tokens()))
    with gated(model, gates):
        model(input_ids=tokens()).logits.float().sum().backward()
    assert gates.grad is not None
    assert gates.grad.dtype == torch.float32


def test_generation_under_gates() -> None:
    model, ids = build("qwen3"), some_tokens(2, 5)
    settings: dict[str, Any] = {"max_new_tokens": 5, "do_sample": False, "pad_token_id": 0}
    settings["attention_mask"] = torch.ones_like(ids)
    with gated(model, soft(model)):
        generated = model.generate(ids, **settings)  # type: ignore[operator]
    assert torch.equal(generated, fold_all(model, soft(model)).generate(ids, **settings))  # type: ignore[operator]


def test_names(tmp_path: Path) -> None:
    model = make_model("gpt2")
    expected = torch.ones(SHAPE)
    expected[1, -1], expected[0, 2] = 0.5, 0
    named = gate_values(resolve_gates(model, {"L1MLP": 0.5, "L0H2": 0}))
    assert torch.equal(named, expected)
    assert describe_gates(expected, "head_and_mlp") == {"not_open": {"L0H2": 0.0, "L1MLP": 0.5}}
    saved = HeadGates(torch.logit(expected, eps=1e-3), {"unit": "head_and_mlp"})
    loaded = HeadGates.load(saved.save(tmp_path / "gates.safetensors"))
    assert loaded.metadata["unit"] == "head_and_mlp"
    with gated(model, loaded) as handle:
        assert handle.unit == "head_and_mlp"


@pytest.mark.parametrize(
    ("gates", "message"),
    [
        ({"L2MLP": 0}, "the model has no L2MLP; the last is L1MLP"),
        ({"L0H4": 0, "L0MLP": 0}, "the model has no L0H4; the last is L1H3"),
        ({"L0MLP": 0, "L0G0": 0}, "names every head once"),
        ({"L0MLP": "shut"}, "the gate of L0MLP must be a number"),
        ({"L0MLP1": 0}, "names no head"),
        (torch.full(SHAPE, 3.0), "must lie in"),
        (torch.ones(LAYERS, HEADS + 2), f"and {HEADS + 1} columns with MLPs"),
    ],
)
def test_wrong_gates_are_refused(gates: Any, message: str) -> None:
    with pytest.raises(GateError, match=message) as refused:
        attach(make_model("gpt2"), gates)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("family", ["gpt2", "opt"])
def test_a_wrong_number_of_rows_is_refused(family: str) -> None:
    model = make_model(family)
    with gated(model, torch.ones(2, *SHAPE)), pytest.raises(GateError, match="one per row"):
        logits(model, tokens(3))


def test_a_model_whose_mlps_are_not_found_has_gates_on_heads_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("chg.models.layouts._registered", {})
    model = Odd()
    chg.register_architecture("odd", attention="mixer", projection="out")
    attach(model, torch.ones(LAYERS, HEADS)).remove()
    with pytest.raises(GateError, match="do not fit this model"):
        attach(model, torch.ones(SHAPE))
    with pytest.raises(ArchitectureError, match=r"were not found.*use --unit head") as refused:
        gate_shape(model, "head_and_mlp")
    assert "\n" not in str(refused.value)


WRONG_PLACES = {
    "gemma2": ("mlp", "a norm follows"),
    "olmo2": ("mlp", "a norm follows"),
    "bloom": ("mlp", "leaves nothing of the residual stream"),
    "mpt": ("ffn", "leaves nothing of the residual stream"),
}
"""model type -> a wrong part of its layers, and why it is none"""


@pytest.mark.parametrize("family", WRONG_PLACES)
def test_the_check_refuses_what_is_not_all_that_an_mlp_adds(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chg.models.layouts._registered", {})
    model, (part, why) = build(family), WRONG_PLACES[family]
    attention, projection = find_head_sites(model)[0].path.rsplit(".", 2)[1:]
    chg.register_architecture(family, attention=attention, projection=projection, mlp=part)
    with pytest.raises(ArchitectureError, match=why) as refused:
        attach(model, close_mlps(model))
    assert "\n" not in str(refused.value)
    attach(model, torch.ones(find_head_sites(model).shape)).remove()


def test_the_check_refuses_an_mlp_that_text_does_not_reach() -> None:
    model = build("mllama")
    with pytest.raises(ArchitectureError, match="not used in a forward pass over text"):
        check_mlp_sites(model, find_head_sites(model))


def test_a_layer_whose_mlp_has_another_name_leaves_none_behind() -> None:
    """Half of a model's MLPs must not pass for all of them."""
    model = make_model("llama")
    layer = model.model.layers[1]
    layer.other, own = layer.mlp, layer.mlp
    del layer.mlp
    object.__setattr__(layer, "mlp", own)  # the layer calls it, and no module list has it
    assert find_head_sites(model).mlps == ()

"""Gates on tiny random models of the families people use, each against plain weight edits."""

from __future__ import annotations

import copy
import inspect
import logging
from pathlib import Path

import pytest
import torch
from tiny_configs import VOCAB, tiny_config
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, AutoModelForSeq2SeqLM

from chg import AblationConfig, ablate_heads
from chg.engine.evaluation import evaluate_gates
from chg.errors import ArchitectureError, GateError
from chg.fitting.fit import fit_gates
from chg.gating.gate_wrapper import attach, gated, get_attention_module
from chg.gating.gates import HeadGates
from chg.models.architectures import find_head_sites
from chg.models.describe import architecture_name
from chg.models.modes import frozen
from test_ablation import plain_sums, ragged_data
from tiny_models import require_family

TEXT = """
bamba bloom codegen cohere cohere2 dbrx deepseek_v2 deepseek_v3 deepseek_v4 ernie4_5 exaone4 falcon
gemma gemma2 gemma3_text gemma3n_text glm glm4 gpt2 gpt_bigcode gpt_neo gpt_neox gpt_oss gptj
granite granitemoe helium hrm_text internlm3 jamba laguna lfm2_moe llama llama4_text longcat_flash
mimo_v2_flash ministral ministral3 mistral mixtral mpt nemotron olmo olmo2 olmoe opt persimmon phi
phi3 phimoe qwen2 qwen2_moe qwen3 qwen3_moe qwen3_next smollm3 stablelm starcoder2 zamba zamba2
""".split()  # noqa: SIM905
VISION = ["gemma3", "idefics2", "idefics3", "llava", "mistral4", "mllama", "qwen2_5_vl", "qwen2_vl"]
HYBRIDS = {
    "bamba": [1, 3],
    "jamba": [4],
    "lfm2_moe": [1, 3],
    "qwen3_next": [3],
    "zamba": [2, 7],
    "zamba2": [1, 3],
}
"""the layers with heads, of those models in which not all layers have some"""

SETTINGS = {
    "hrm_text": {"L_bp_cycles": [8, 8]},  # otherwise its gradients stop at the last cycles
    "laguna": {"num_attention_heads_per_layer": [4, 2, 4, 8]},
}
"""settings beyond the tiny ones; a layer's own number of heads is in one family alone"""

PARTLY_FLOAT32 = {"bamba", "deepseek_v4", "laguna", "longcat_flash", "mpt"}
"""families that compute something in float32, whatever they are given"""

TOLERANCE = 1e-8


def build(model_type: str) -> nn.Module:
    """A tiny random model in float64, weights large enough for every head to matter."""
    require_family(model_type)
    logging.getLogger("transformers").setLevel(logging.ERROR)
    torch.manual_seed(0)
    auto = AutoModelForImageTextToText if model_type in VISION else AutoModelForCausalLM
    model = (
        auto.from_config(tiny_config(model_type, **SETTINGS.get(model_type, {}))).double().eval()
    )
    if hasattr(model, "set_experts_implementation"):
        model.set_experts_implementation("eager")  # the grouped one has no float64
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() == 2:
                weight.mul_(5)  # the default 0.02 leaves every head next to nothing to say
    return model


@pytest.fixture(params=TEXT + VISION)
def decoder(request: pytest.FixtureRequest) -> nn.Module:
    return build(request.param)


def run(model: nn.Module, ids: Tensor, **inputs: Tensor) -> Tensor:
    inputs = {"attention_mask": torch.ones_like(ids), **inputs}
    with torch.no_grad():
        logits: Tensor = model(input_ids=ids, use_cache=False, **inputs).logits
    return logits


def some_tokens(*shape: int) -> Tensor:
    return torch.randint(3, VOCAB - 4, shape, generator=torch.Generator().manual_seed(0))


def soft_gates(model: nn.Module) -> Tensor:
    shape = find_head_sites(model).shape
    return torch.rand(shape, generator=torch.Generator().manual_seed(1)).double()


def fold(model: nn.Module, gates: Tensor) -> nn.Module:
    """The same model with its gates multiplied into the projections' weights."""
    folded = copy.deepcopy(model)
    for site in find_head_sites(folded):
        weight = nn.Parameter(site.projection.weight.clone())  # Zamba's layers share theirs
        site.projection.weight = weight
        factor = gates[site.layer, : site.num_heads].repeat_interleave(site.head_dim)
        with torch.no_grad():
            if type(site.projection).__name__ == "Conv1D":
                weight.mul_(factor[:, None])
            else:  # more than one block of heads in DeepSeek-V4 alone
                blocks = factor.numel() // weight.shape[1]
                weight.mul_(factor.view(blocks, -1).repeat_interleave(len(weight) // blocks, 0))
    return folded


def test_gates_do_what_weight_edits_do(decoder: nn.Module) -> None:
    soft, closed = soft_gates(decoder), torch.ones(find_head_sites(decoder).shape)
    closed[:, 1] = 0
    ids = some_tokens(2, 6)
    plain = run(decoder, ids)
    with gated(decoder, torch.ones_like(soft)):
        assert torch.equal(run(decoder, ids), plain)
    for gates in (soft, closed):
        with gated(decoder, gates):
            scaled = run(decoder, ids)
        assert (scaled - run(fold(decoder, gates), ids)).abs().max() < TOLERANCE
        assert (scaled - plain).abs().max() > 1e-3
    with gated(decoder, torch.stack([soft, closed])):  # one matrix per row
        both = run(decoder, ids)
    for row, gates in enumerate((soft, closed)):
        with gated(decoder, gates):
            alone = run(decoder, ids)
        assert (both[row] - alone[row]).abs().max() < TOLERANCE
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
    torch.testing.assert_close(with_padding, of_folded, rtol=0, atol=TOLERANCE, equal_nan=True)
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


def test_individual_ablation_equals_a_loop_of_weight_edits(decoder: nn.Module) -> None:
    data, sites = ragged_data(3), find_head_sites(decoder)
    result = ablate_heads(decoder, data, show_progress=False)
    assert len(result.heads) == int(sites.existing().sum())
    tolerance = 1e-6 if architecture_name(decoder) in PARTLY_FLOAT32 else 1e-9
    before = plain_sums(decoder, data).sum()
    for head in result.heads:
        closed = torch.ones(sites.shape, dtype=torch.float64)
        closed[head.layer, head.head] = 0
        score = (plain_sums(fold(decoder, closed), data).sum() - before) / data.num_target_tokens
        assert head.score == pytest.approx(score, abs=tolerance)


@pytest.mark.parametrize("model_type", sorted(HYBRIDS))
def test_layers_without_heads_are_left_out_everywhere(model_type: str, tmp_path: Path) -> None:
    model, data = build(model_type), ragged_data()
    sites, layers = find_head_sites(model), HYBRIDS[model_type]
    assert [site.layer for site in sites] == layers
    fit = fit_gates(model, data, max_steps=3, lambda_reg=0.1, show_progress=False)
    path = fit.gates.save(tmp_path / "gates.safetensors")
    gates = HeadGates.load(path)
    assert torch.equal(gates.exists, sites.existing())
    assert sum(gates.counts) == int(sites.existing().sum())
    result = ablate_heads(model, data, AblationConfig(), gates=gates, show_progress=False)
    assert {head.layer for head in result.heads} == set(layers)
    assert len(result.heads) == int(sites.existing().sum())
    assert result.shape == sites.shape
    with pytest.raises(GateError, match="no softmax attention"):
        get_attention_module(model, 0)


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
        assert head.score == pytest.approx(expected, abs=1e-6)
    with pytest.raises(GateError, match=r"4 heads, in 2 key-value groups"):
        attach(model, torch.ones(4, 3))
    with pytest.raises(GateError, match="--unit"):
        ablate_heads(model, data, gates=fit.gates, show_progress=False)


def test_half_of_the_heads_never_pass_for_all() -> None:
    model = build("gpt2")
    model.side = copy.deepcopy(model.transformer.h[0])  # type: ignore[union-attr, operator]
    with pytest.raises(ArchitectureError, match="would pass for gates on all"):
        find_head_sites(model)


@pytest.mark.parametrize(
    ("model_type", "shape", "where"),
    [
        ("hrm_text", (8, 4), ["L_module.layers.0", "H_module.layers.3"]),
        ("longcat_flash", (8, 4), ["layers.0.self_attn.0", "layers.3.self_attn.1"]),
    ],
)
def test_all_stacks_and_all_attentions_of_a_layer_have_rows(
    model_type: str, shape: tuple[int, int], where: list[str]
) -> None:
    sites = find_head_sites(build(model_type))
    assert sites.shape == shape
    assert where[0] in sites[0].path
    assert where[1] in sites[-1].path


def test_layers_may_differ_in_their_number_of_heads() -> None:
    model, data = build("laguna"), ragged_data()
    assert [site.num_heads for site in find_head_sites(model)] == [4, 2, 4, 8]
    result = ablate_heads(model, data, show_progress=False)
    assert result.shape == (4, 8)
    assert sum(head.layer == 1 for head in result.heads) == 2


@pytest.mark.parametrize(
    ("model_type", "reason"), [("jetmoe", "anew for each token"), ("bart", "encoder-decoder")]
)
def test_what_cannot_be_gated_says_why(model_type: str, reason: str) -> None:
    config = tiny_config(model_type)
    auto = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    with pytest.raises(ArchitectureError, match=reason):
        find_head_sites(auto.from_config(config))


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
    assert together.logprob_sums == pytest.approx(alone.logprob_sums, abs=1e-6)


@pytest.mark.parametrize("model_type", ["falcon", "gpt_bigcode"])
def test_multi_query_attention_is_one_group(model_type: str) -> None:
    assert find_head_sites(build(model_type)).group_shape == (4, 1)

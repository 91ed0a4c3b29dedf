"""Gates on tiny random models of the families people use, each against plain weight edits."""

from __future__ import annotations

import copy
import logging
from pathlib import Path

import pytest
import torch
from tiny_configs import VOCAB, tiny_config
from torch import Tensor, nn
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, AutoModelForImageTextToText

from chg import AblationConfig, ablate_heads
from chg.architectures import find_head_sites
from chg.errors import ArchitectureError, GateError
from chg.evaluation import evaluate_gates
from chg.fitting import fit_gates
from chg.gate_wrapper import attach, gated, get_attention_module
from chg.gates import HeadGates
from test_ablation import ragged_data

TEXT = """
bamba bloom codegen cohere cohere2 deepseek_v2 deepseek_v3 ernie4_5 exaone4 falcon gemma gemma2
gemma3_text gemma3n_text glm glm4 gpt2 gpt_bigcode gpt_neo gpt_neox gpt_oss gptj granite granitemoe
helium internlm3 jamba lfm2_moe llama llama4_text mimo_v2_flash ministral ministral3 mistral mixtral
mpt nemotron olmo olmo2 olmoe opt persimmon phi phi3 phimoe qwen2 qwen2_moe qwen3 qwen3_moe
qwen3_next smollm3 stablelm starcoder2 zamba zamba2
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

TOLERANCE = 1e-4


def build(model_type: str) -> nn.Module:
    """A tiny random model, weights large enough for every head to matter."""
    if model_type not in CONFIG_MAPPING:
        pytest.skip(f"this transformers release has no {model_type}")
    logging.getLogger("transformers").setLevel(logging.ERROR)
    torch.manual_seed(0)
    auto = AutoModelForImageTextToText if model_type in VISION else AutoModelForCausalLM
    model = auto.from_config(tiny_config(model_type)).eval()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() == 2:
                weight.mul_(5)  # the default 0.02 leaves every head next to nothing to say
    return model


@pytest.fixture(params=TEXT + VISION)
def decoder(request: pytest.FixtureRequest) -> nn.Module:
    return build(request.param)


def run(model: nn.Module, ids: Tensor) -> Tensor:
    with torch.no_grad():
        logits: Tensor = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    return logits


def fold(model: nn.Module, gates: Tensor) -> nn.Module:
    """The same model with its gates multiplied into the projections' weights."""
    folded = copy.deepcopy(model)
    done: set[int] = set()
    for site in find_head_sites(folded):
        weight = site.projection.weight
        if weight.data_ptr() in done:  # tied between layers; gates of tied layers are equal here
            continue
        done.add(weight.data_ptr())
        factor = gates[site.layer, : site.num_heads].repeat_interleave(site.head_dim)
        is_conv1d = weight.shape[0] == factor.numel() and not isinstance(site.projection, nn.Linear)
        with torch.no_grad():
            weight.mul_(factor[:, None] if is_conv1d else factor)
    return folded


def test_gates_do_what_weight_edits_do(decoder: nn.Module) -> None:
    sites = find_head_sites(decoder)
    ids = torch.randint(3, VOCAB - 4, (2, 6), generator=torch.Generator().manual_seed(0))
    plain = run(decoder, ids)
    with gated(decoder, torch.ones(sites.shape)):
        assert torch.equal(run(decoder, ids), plain)
    soft = torch.rand(sites.shape[1], generator=torch.Generator().manual_seed(1)).expand(
        sites.shape
    )
    closed = torch.ones(sites.shape)
    closed[:, 1] = 0
    for gates in (soft, closed):
        with gated(decoder, gates.contiguous()):
            scaled = run(decoder, ids)
        assert (scaled - run(fold(decoder, gates), ids)).abs().max() < TOLERANCE
        assert (scaled - plain).abs().max() > 10 * TOLERANCE
    with gated(decoder, torch.stack([soft, closed])):  # one matrix per row
        both = run(decoder, ids)
    for row, gates in enumerate((soft, closed)):
        with gated(decoder, gates.contiguous()):
            alone = run(decoder, ids)
        assert (both[row] - alone[row]).abs().max() < TOLERANCE
    assert torch.equal(run(decoder, ids), plain)


def test_gradients_reach_every_head_that_exists(decoder: nn.Module) -> None:
    sites = find_head_sites(decoder)
    gates = torch.full(sites.shape, 0.5, requires_grad=True)
    ids = torch.randint(3, VOCAB - 4, (1, 6), generator=torch.Generator().manual_seed(0))
    with gated(decoder, gates):
        logits = decoder(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
        torch.log_softmax(logits[0, -1].float(), -1)[7].backward()
    assert gates.grad is not None
    assert bool((gates.grad[sites.existing()] != 0).all())
    assert not gates.grad[~sites.existing()].any()


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


@pytest.mark.parametrize("model_type", ["longcat_flash", "hrm_text"])
def test_half_of_the_heads_never_pass_for_all(model_type: str) -> None:
    if model_type not in CONFIG_MAPPING:
        pytest.skip(f"this transformers release has no {model_type}")
    model = AutoModelForCausalLM.from_config(tiny_config(model_type))
    with pytest.raises(ArchitectureError, match="more than one stack of heads"):
        find_head_sites(model)


@pytest.mark.parametrize("model_type", ["falcon", "gpt_bigcode"])
def test_multi_query_attention_is_one_group(model_type: str) -> None:
    assert find_head_sites(build(model_type)).group_shape == (4, 1)

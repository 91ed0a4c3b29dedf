"""Tiny random models of the families people use, and gates folded into their weights."""

from __future__ import annotations

import copy
import logging

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

from chg.models.architectures import find_head_sites
from support.tiny_configs import VOCAB, tiny_config
from support.tiny_models import require_family

TEXT = """
bamba bloom codegen cohere cohere2 dbrx deepseek_v2 deepseek_v3 deepseek_v4 ernie4_5 exaone4 falcon
gemma gemma2 gemma3_text gemma3n_text glm glm4 gpt2 gpt_bigcode gpt_neo gpt_neox gpt_oss gptj
granite granitemoe helium hrm_text internlm3 jamba laguna lfm2_moe llama llama4_text longcat_flash
mimo_v2_flash ministral ministral3 mistral mixtral mpt nemotron olmo olmo2 olmoe opt persimmon phi
phi3 phimoe qwen2 qwen2_moe qwen3 qwen3_moe qwen3_next smollm3 stablelm starcoder2 zamba zamba2
""".split()  # noqa: SIM905


VISION = ["gemma3", "idefics2", "idefics3", "llava", "mistral4", "mllama", "qwen2_5_vl", "qwen2_vl"]


SETTINGS = {
    "hrm_text": {"L_bp_cycles": [8, 8]},  # otherwise its gradients stop at the last cycles
    "laguna": {"num_attention_heads_per_layer": [4, 2, 4, 8]},
}
"""settings beyond the tiny ones; a layer's own number of heads is in one family alone"""


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


def run(model: nn.Module, ids: Tensor, **inputs: Tensor) -> Tensor:
    """Logits of one pass, without padding unless `inputs` say otherwise."""
    inputs = {"attention_mask": torch.ones_like(ids), **inputs}
    with torch.no_grad():
        logits: Tensor = model(input_ids=ids, use_cache=False, **inputs).logits
    return logits


def some_tokens(*shape: int) -> Tensor:
    """Random token ids, none of them special."""
    return torch.randint(3, VOCAB - 4, shape, generator=torch.Generator().manual_seed(0))


def soft_gates(model: nn.Module) -> Tensor:
    """Random gates between 0 and 1."""
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

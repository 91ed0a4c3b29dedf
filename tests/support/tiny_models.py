"""Small random models of every family that is promised, made from configurations."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers
from packaging.version import Version
from torch import nn
from transformers import CONFIG_MAPPING, AutoConfig, AutoModelForCausalLM, PreTrainedModel

VOCAB = 64
LAYERS = 2
HEADS = 4

_LLAMA: dict[str, Any] = {
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "hidden_size": 32,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("gpt2", {"n_layer": LAYERS, "n_head": HEADS, "n_embd": 32, "n_positions": 64}),
    "llama": ("llama", {**_LLAMA, "num_key_value_heads": HEADS}),
    "llama_grouped": ("llama", {**_LLAMA, "num_key_value_heads": 2}),
    "llama_head_dim": ("llama", {**_LLAMA, "num_key_value_heads": 2, "head_dim": 16}),
    "mistral": ("mistral", {**_LLAMA, "num_key_value_heads": 2, "sliding_window": None}),
    "opt": (
        "opt",
        {
            "num_hidden_layers": LAYERS,
            "num_attention_heads": HEADS,
            "hidden_size": 32,
            "ffn_dim": 48,
            "word_embed_proj_dim": 32,
            "max_position_embeddings": 64,
        },
    ),
    # These four are found by the structural probe.
    "qwen3": ("qwen3", {**_LLAMA, "num_key_value_heads": 2, "head_dim": 16}),
    "gemma": ("gemma", {**_LLAMA, "num_key_value_heads": 2, "head_dim": 16}),
    "gpt_neox": ("gpt_neox", _LLAMA),
    "phi": ("phi", _LLAMA),
}

WRONG_BEFORE = {
    "dbrx": ("5.0", "takes no small settings for its parts"),
    "gemma3n_text": ("5.0", "runs otherwise without a cache"),
    "deepseek_v3": ("5.0", "does not run in float64"),
    "llama4_text": ("4.57", "mixes the rows of a batch"),
    "mpt": ("5.0", "does not run in float64"),
    "zamba": ("5.0", "has one projection for all layers, so that no weight edit is one layer's"),
}
"""model type -> a transformers release that is good for these tests, and what is wrong before"""


def require_family(model_type: str) -> None:
    """Skip the test where the installed transformers does not have the family, or has it wrong."""
    release = transformers.__version__
    if model_type not in CONFIG_MAPPING:
        pytest.skip(f"transformers {release} has no {model_type}")
    since, fault = WRONG_BEFORE.get(model_type, ("0", ""))
    if Version(release) < Version(since):
        pytest.skip(f"{model_type} of transformers {release} {fault}")


def compute_in_float64(model: PreTrainedModel) -> PreTrainedModel:
    """The model in float64 throughout: RMS norms of transformers compute in float32 otherwise."""
    for name, module in list(model.named_modules()):
        if type(module).__name__.endswith("RMSNorm"):
            shift = 1.0 if type(module).__name__.startswith("Gemma") else 0.0
            eps = getattr(module, "variance_epsilon", getattr(module, "eps", None))
            norm = nn.RMSNorm(module.weight.shape[-1], eps=eps)
            norm.weight.data = module.weight.data + shift
            model.set_submodule(name, norm)
    return model.double()


def make_model(family: str, **settings: Any) -> PreTrainedModel:
    """A random model, in eval mode, large enough in its weights for every head to matter."""
    model_type, sizes = FAMILIES[family]
    torch.manual_seed(0)
    special = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
    config = AutoConfig.for_model(model_type, vocab_size=VOCAB, **{**special, **sizes, **settings})
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() == 2:
                weight.mul_(5)  # the default 0.02 leaves every head next to nothing to say
    return model.eval()

"""Small random models of three families, and edits of their weights that gates must equal.

The paths of output projections are written down here once more, by hand, because the paths that
the package finds are what is being tested.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

VOCAB, LAYERS, HEADS = 64, 2, 4
"""Tokens, layers and query heads of every random model."""

_SIZES: dict[str, Any] = {
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "hidden_size": 32,
    "max_position_embeddings": 64,
}
_MODELS: dict[str, tuple[str, dict[str, Any], str]] = {
    "GPT-2": (
        "gpt2",
        {"n_layer": LAYERS, "n_head": HEADS, "n_embd": 32, "n_positions": 64},
        "transformer.h.{}.attn.c_proj",
    ),
    "grouped Llama": (
        "llama",
        {**_SIZES, "num_key_value_heads": 2, "head_dim": 16, "intermediate_size": 48},
        "model.layers.{}.self_attn.o_proj",
    ),
    "OPT": (
        "opt",
        {**_SIZES, "ffn_dim": 48, "word_embed_proj_dim": 32},
        "model.decoder.layers.{}.self_attn.out_proj",
    ),
}
"""name -> model type, settings, and the path of layer {}'s output projection"""

FAMILIES = tuple(_MODELS)


def random_model(family: str) -> nn.Module:
    """Make a random model in eval mode, with weights so large that every head matters."""
    from transformers import AutoConfig, AutoModelForCausalLM

    model_type, settings, _ = _MODELS[family]
    tokens = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
    config = AutoConfig.for_model(model_type, vocab_size=VOCAB, **tokens, **settings)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        model: nn.Module = AutoModelForCausalLM.from_config(config)
        for weight in model.parameters():
            if weight.dim() == 2:
                weight.mul_(3)  # the default 0.02 leaves every head next to nothing to say
            elif not weight.any():
                weight.normal_(std=0.1)  # biases too: they belong to no head
    return model.eval()


def projection(model: nn.Module, layer: int) -> nn.Module:
    """Output projection of a layer's attention, by its known path."""
    model_type = model.config.model_type  # type: ignore[union-attr]
    (path,) = (path for kind, _, path in _MODELS.values() if kind == model_type)
    return model.get_submodule(path.format(layer))


def with_gates_in_weights(model: nn.Module, gates: Float[Tensor, "layer head"]) -> nn.Module:
    """Copy a model, with the columns of every head in the projections multiplied by its gate."""
    edited = copy.deepcopy(model)
    with torch.no_grad():
        for layer, layer_gates in enumerate(gates):
            module: Any = projection(edited, layer)
            # `nn.Linear` keeps `[output, input]`, the Conv1D of GPT-2 `[input, output]`.
            columns = module.weight if isinstance(module, nn.Linear) else module.weight.T
            columns *= layer_gates.repeat_interleave(columns.shape[1] // len(layer_gates))
    return edited


def without_head(model: nn.Module, layer: int, head: int) -> nn.Module:
    """Copy a model, with a head's columns in its projection set to zero."""
    gates = torch.ones(LAYERS, HEADS)
    gates[layer, head] = 0
    return with_gates_in_weights(model, gates)

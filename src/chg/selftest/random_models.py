"""Small random models of three families, and edits of their weights that gates must equal.

Where a family's output projections are is written down here once more, by hand: what the package
finds is what is being tested.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

VOCAB, LAYERS, HEADS = 64, 2, 4

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
    """A random model in eval mode, large enough in its weights for every head to matter."""
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
    """The output projection of a layer's attention, by the path that is known."""
    model_type = model.config.model_type  # type: ignore[union-attr]
    (path,) = (path for kind, _, path in _MODELS.values() if kind == model_type)
    return model.get_submodule(path.format(layer))


def with_gates_in_weights(model: nn.Module, gates: Float[Tensor, "layer head"]) -> nn.Module:
    """A copy whose projections have the columns of every head multiplied by its gate."""
    edited = copy.deepcopy(model)
    with torch.no_grad():
        for layer, of_layer in enumerate(gates):
            module: Any = projection(edited, layer)
            # `nn.Linear` keeps `[output, input]`, the Conv1D of GPT-2 `[input, output]`.
            columns = module.weight if isinstance(module, nn.Linear) else module.weight.T
            columns *= of_layer.repeat_interleave(columns.shape[1] // len(of_layer))
    return edited


def without_head(model: nn.Module, layer: int, head: int) -> nn.Module:
    """A copy whose projection has a head's columns set to zero."""
    gates = torch.ones(LAYERS, HEADS)
    gates[layer, head] = 0
    return with_gates_in_weights(model, gates)

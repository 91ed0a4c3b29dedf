"""A Llama of 2 layers as a GGUF file, with its tokenizer: random weights, quantized or not."""

from __future__ import annotations

import json
from pathlib import Path

import gguf
import numpy as np
import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from support.local_hub import make_tokenizer

NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
"""Module of transformers -> its name in a GGUF file."""

HEADS, GROUPS, SIZE = 4, 2, 64


def make_llama(vocabulary: int) -> LlamaForCausalLM:
    """Draw the model at random."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=SIZE,
        intermediate_size=SIZE,
        num_hidden_layers=2,
        num_attention_heads=HEADS,
        num_key_value_heads=GROUPS,
        max_position_embeddings=128,
        tie_word_embeddings=False,
    )
    return LlamaForCausalLM(config).eval()


def make_gguf(path: Path, kind: str = "Q4_1") -> LlamaForCausalLM:
    """Write a GGUF file whose matrices are quantized.

    Returns:
        The model with the weights that the file holds, rounded as they are there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    make_tokenizer(path.parent / "tokenizer")
    tokenizer = json.loads((path.parent / "tokenizer" / "tokenizer.json").read_text("utf-8"))
    tokens = sorted(tokenizer["model"]["vocab"], key=tokenizer["model"]["vocab"].__getitem__)
    model = make_llama(len(tokens))
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_file_type(gguf.LlamaFileType[f"MOSTLY_{kind}" if kind != "F32" else "ALL_F32"])
    writer.add_block_count(2)
    writer.add_context_length(128)
    writer.add_embedding_length(SIZE)
    writer.add_feed_forward_length(SIZE)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(GROUPS)
    writer.add_layer_norm_rms_eps(model.config.rms_norm_eps)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_merges([" ".join(pair) for pair in tokenizer["model"]["merges"]])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    writer.add_add_bos_token(False)
    for name, weight in model.named_parameters():
        _add(writer, name, weight.data, kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return model


def _add(writer: gguf.GGUFWriter, name: str, weight: Tensor, kind: str) -> None:
    """Write a weight, and leave in it what is read back."""
    module, leaf = name.rsplit(".", 1)
    block = module.removeprefix("model.layers.") if ".layers." in module else ""
    layer, _, inner = block.partition(".")
    written = f"blk.{layer}.{NAMES[inner]}" if block else NAMES[module]
    quantized = kind != "F32" and weight.dim() == 2
    form = gguf.GGMLQuantizationType[kind if quantized else "F32"]
    packed = gguf.quantize(_pairs(inner, weight).numpy(), form)
    rounded = np.array(gguf.dequantize(packed, form))
    weight.copy_(_halves(inner, torch.from_numpy(rounded)))
    raw = form if quantized else None
    writer.add_tensor(f"{written}.{leaf}", packed, raw_dtype=raw)


def _pairs(module: str, weight: Tensor) -> Tensor:
    """A GGUF file has the two coordinates that rotate together side by side."""
    heads = {"self_attn.q_proj": HEADS, "self_attn.k_proj": GROUPS}.get(module)
    if heads is None:
        return weight
    return weight.view(heads, 2, -1, SIZE).transpose(1, 2).reshape(weight.shape).contiguous()


def _halves(module: str, weight: Tensor) -> Tensor:
    heads = {"self_attn.q_proj": HEADS, "self_attn.k_proj": GROUPS}.get(module)
    if heads is None:
        return weight
    return weight.view(heads, -1, 2, SIZE).transpose(1, 2).reshape(weight.shape)

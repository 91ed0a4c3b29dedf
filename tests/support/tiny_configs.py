"""Tiny configurations of every model class that the installed transformers release knows.

A default configuration is built, the sizes it has are looked up in `SIZES`, and a second one is
built with those, so that whatever a configuration derives from its sizes is derived again; nested
configurations likewise. What a family needs beyond that is in `EXTRAS`.
"""

from __future__ import annotations

from copy import deepcopy
from inspect import signature
from typing import Any

from transformers import PretrainedConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

HEADS, HEAD_DIM = 4, 8
VOCAB = 64

_SAME: list[tuple[int, tuple[str, ...]]] = [
    (
        HEADS * HEAD_DIM,
        (
            "hidden_size",
            "n_embd",
            "d_model",
            "embed_dim",
            "dim",
            "word_embed_proj_dim",
            "out_hidden_size",
            "text_hidden_size",
            "adapter_in_dim",
            "adapter_input_size",
            "adapter_out_dim",
        ),
    ),
    (
        HEADS,
        (
            "num_attention_heads",
            "n_head",
            "n_heads",
            "num_heads",
            "decoder_attention_heads",
            "encoder_attention_heads",
            "num_decoder_attention_heads",
            "num_encoder_attention_heads",
            "swa_num_attention_heads",
            "num_sliding_attention_heads",
        ),
    ),
    (
        HEAD_DIM,
        (
            "head_dim",
            "rotary_dim",
            "d_kv",
            "attention_head_dim",
            "v_head_dim",
            "qk_nope_head_dim",
            "qk_rope_head_dim",
            "global_head_dim",
            "swa_head_dim",
            "hidden_size_per_layer_input",
            "kv_channels",
        ),
    ),
    (
        4,
        (
            "num_hidden_layers",
            "n_layer",
            "n_layers",
            "num_layers",
            "decoder_layers",
            "encoder_layers",
            "depth",
        ),
    ),
    (
        2,
        (
            "num_key_value_heads",
            "n_head_kv",
            "num_kv_heads",
            "swa_num_key_value_heads",
            "num_experts_per_tok",
            "moe_topk",
        ),
    ),
    (8, ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")),
    (1, ("n_group", "topk_group", "num_group", "first_k_dense_replace")),
    (16, ("q_lora_rank", "kv_lora_rank")),
    (
        48,
        (
            "intermediate_size",
            "ffn_dim",
            "n_inner",
            "d_ff",
            "decoder_ffn_dim",
            "encoder_ffn_dim",
            "moe_intermediate_size",
            "shared_expert_intermediate_size",
            "shared_intermediate_size",
            "intermediate_size_mlp",
            "dense_intermediate_size",
            "ffn_hidden_size",
        ),
    ),
    (VOCAB, ("vocab_size", "vocab_size_per_layer_input", "max_position_embeddings", "n_positions")),
]
SIZES: dict[str, int] = {name: size for size, names in _SAME for name in names}
"""name of a setting -> its size in a tiny model; used where the default is a larger number"""

ROTARY_SECTIONS = [1, 1, HEAD_DIM // 2 - 2]
"""parts of half a head that multimodal rotary embeddings turn by time, height and width"""

TOKENS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}

_STATE_SPACE = {"mamba_n_heads": 8, "mamba_d_head": 8, "mamba_chunk_size": 8}
_ROTARY = {
    "rope_type": "default",
    "rope_theta": 10000.0,
    "partial_rotary_factor": 1.0,
    "mrope_section": ROTARY_SECTIONS,
}
_MULTIMODAL = (
    "ernie4_5_vl_moe_text",
    "glm4v_moe_text",
    "glm4v_text",
    "glm_ocr_text",
    "hunyuan_vl_text",
    "paddleocr_vl_text",
    "qwen2_5_omni_text",
    "qwen2_5_vl_text",
    "qwen2_vl_text",
)
_VISION_START = ("qwen2_5_omni_thinker", "qwen2_5_vl", "qwen2_vl", "qwen3_omni_moe_thinker")
EXTRAS: dict[str, dict[str, Any]] = {
    **{name: {"rope_scaling": _ROTARY} for name in _MULTIMODAL},
    **{name: {"vision_start_token_id": VOCAB} for name in _VISION_START},
    "bailing_hybrid": {"layer_types": ["linear_attention", "full_attention"] * 2},
    "blt_local_decoder": {"hidden_size_global": HEADS * HEAD_DIM},
    "blt_local_encoder": {"hidden_size_global": HEADS * HEAD_DIM},
    "bamba": {"attn_layer_indices": [1, 3], **_STATE_SPACE},
    "chameleon": {"vocabulary_map": {"<image>": VOCAB - 1}},
    "cohere_compass_text": {"rope_parameters": {"full_attention": _ROTARY}},
    "dbrx": {"attn_config": {"clip_qkv": 8.0, "kv_n_heads": 2, "rope_theta": 10000.0}},
    "deepseek_ocr2_text": {"mlp_layer_types": ["dense", "sparse"] * 2, "num_experts_per_tok": 2},
    "deepseek_v2": {"n_routed_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 16},
    "dots1": {"n_routed_experts": 8, "n_shared_experts": 1, "num_experts_per_tok": 2},
    "dots3_note_text": {
        "swa_num_attention_heads": HEADS,
        "swa_num_key_value_heads": HEADS,
        "swa_head_dim": 2 * HEAD_DIM,
        "swa_qk_nope_head_dim": HEAD_DIM,
        "swa_v_head_dim": HEAD_DIM,
    },
    "dots3_note_vision_encoder": {"mlp_layer_types": ["dense"] * 4},
    "gemma3n_text": {
        "layer_types": ["sliding_attention", "full_attention"] * 2,
        "num_kv_shared_layers": 2,
        "intermediate_size": 48,
    },
    "gpt_neo": {"attention_types": [[["global", "local"], 2]]},
    "granite4_vision": {
        "downsample_rate": "1/2",
        "deepstack_layer_map": [[1, 0]],
        "vision_config": {"hidden_size": 64},
    },
    "granitemoehybrid": {"layer_types": ["mamba", "attention"] * 2, **_STATE_SPACE},
    "inkling_vision": {"patch_size": 2},
    "jamba": {"num_hidden_layers": 8, "use_mamba_kernels": False},
    "kimi_linear": {"layer_types": ["linear_attention", "full_attention"] * 2},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"] * 2},
    "mllama_text_model": {"rope_scaling": {"rope_type": "default"}},
    "molmo2": {"adapter_config": {"vision_feature_layer": [3, 1]}},
    "perception_lm": {"vision_config": {"model_args": {"embed_dim": HEADS * HEAD_DIM}}},
    "qwen4_exp_text": {
        "indexer_n_heads": HEADS,
        "indexer_kv_heads": 1,
        "indexer_head_dim": HEAD_DIM,
        "indexer_budget": VOCAB,
        "indexer_compress_ratio": 2,
    },
    "reformer": {"is_decoder": True, "axial_pos_embds": False},
    "step3p5": {
        "sliding_window": VOCAB,
        "layer_types": ["full_attention", "sliding_attention"] * 2,
    },
    "timm_wrapper": {"model_type": "siglip_vision_model", "hidden_size": 48},  # has no need of timm
    "xmod": {"default_language": "en_XX"},
    "zamba": {"num_hidden_layers": 8, "use_mamba_kernels": False},
    "zamba2": {
        "layers_block_type": ["mamba", "hybrid"] * 2,
        "num_mem_blocks": 2,
        "chunk_size": 8,  # the default pads a few tokens to 256
    },
}
"""what single families need beyond `SIZES`; a nested configuration gets that of its own type too"""


def tiny_config(model_type: str, **settings: Any) -> PretrainedConfig:
    """A configuration of that type with a few small layers; `settings` override what is chosen."""
    chosen = {**EXTRAS.get(model_type, {}), **settings}
    build = CONFIG_MAPPING[model_type]
    default = build(**{k: v for k, v in chosen.items() if k == "is_decoder"})
    # a copy, because configurations write into the dictionaries they are given
    config: PretrainedConfig = build(**deepcopy(_small(default, chosen)))
    return config


def _small(default: PretrainedConfig, chosen: dict[str, Any]) -> dict[str, Any]:
    """Settings for a small configuration of the same kind, nested ones included."""
    small = _small_settings(default)
    parts = {k: v for k, v in vars(default).items() if isinstance(v, PretrainedConfig)}
    for name, part in parts.items():
        extras = {**EXTRAS.get(part.model_type, {}), **chosen.get(name, {})}
        small[name] = {"model_type": part.model_type, **_given(part), **_small(part, extras)}
    return {**small, **{k: v for k, v in chosen.items() if k not in parts}}


def _given(part: PretrainedConfig) -> dict[str, Any]:
    """What the configuration around this one has set in it; the rest is derived again."""
    own, taken = vars(type(part)()), _taken(part)
    return {
        name: value
        for name, value in vars(part).items()
        if name in taken and value != own.get(name) and isinstance(value, (int, float, str))
    }


def _taken(config: PretrainedConfig) -> set[str]:
    """Attributes that can be set in a configuration of this class; it derives the others."""
    names = signature(type(config).__init__).parameters
    return {*names, *(config.attribute_map.get(name, name) for name in names)}


def _small_settings(config: PretrainedConfig) -> dict[str, Any]:
    known = {config.attribute_map.get(name, name): size for name, size in SIZES.items()}
    taken = _taken(config)
    small: dict[str, Any] = {}
    for name, value in vars(config).items():
        if isinstance(value, dict) and "mrope_section" in value:
            small[name] = {**value, "mrope_section": ROTARY_SECTIONS}
        elif name not in known or name not in taken:
            continue
        elif isinstance(value, int) and value > known[name]:
            small[name] = known[name]
        elif name in ("intermediate_size", "head_dim", "num_key_value_heads") and value is None:
            small[name] = SIZES[name]
    if "kv_lora_rank" in vars(config):  # latent attention has no groups
        small["num_key_value_heads"] = HEADS
    return {**small, **{name: token for name, token in TOKENS.items() if hasattr(config, name)}}

"""Tiny configurations of every model class that the installed transformers release knows.

A default configuration is built, the sizes it has are looked up in `SIZES`, and a second one is
built with those, so that whatever a configuration derives from its sizes is derived again. What a
family needs beyond that is in `EXTRAS`.
"""

from __future__ import annotations

from typing import Any

from transformers import PretrainedConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

HEADS, HEAD_DIM = 4, 8
VOCAB = 64

_SAME: list[tuple[int, tuple[str, ...]]] = [
    (
        HEADS * HEAD_DIM,
        ("hidden_size", "n_embd", "d_model", "embed_dim", "dim", "word_embed_proj_dim"),
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
        ),
    ),
    (2, ("num_key_value_heads", "n_head_kv", "num_kv_heads", "num_experts_per_tok", "moe_topk")),
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
    (VOCAB, ("vocab_size", "max_position_embeddings", "n_positions")),
]
SIZES: dict[str, int] = {name: size for size, names in _SAME for name in names}
"""name of a setting -> its size in a tiny model; used where the default is a larger number"""

PER_LAYER = ("layer_types", "per_layer_config", "mlp_layer_types", "no_rope_layers")
"""settings of a nested configuration that must be derived again from its number of layers"""

TOKENS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}

_STATE_SPACE = {"mamba_n_heads": 8, "mamba_d_head": 8}
_MULTIMODAL_ROTARY = {
    "text_config": {"rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2]}}
}
EXTRAS: dict[str, dict[str, Any]] = {
    "bailing_hybrid": {"layer_types": ["linear_attention", "full_attention"] * 2},
    "bamba": {"attn_layer_indices": [1, 3], **_STATE_SPACE},
    "deepseek_v2": {"n_routed_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 16},
    "glm46v": _MULTIMODAL_ROTARY,
    "glm4v": _MULTIMODAL_ROTARY,
    "glm4v_moe": _MULTIMODAL_ROTARY,
    "glm_ocr": _MULTIMODAL_ROTARY,
    "glmga": _MULTIMODAL_ROTARY,
    "gpt_neo": {"attention_types": [[["global", "local"], 2]]},
    "granitemoehybrid": {"layer_types": ["mamba", "attention"] * 2, **_STATE_SPACE},
    "jamba": {"num_hidden_layers": 8},
    "kimi_linear": {"layer_types": ["linear_attention", "full_attention"] * 2},
    "reformer": {"is_decoder": True, "axial_pos_embds": False},
    "zamba": {"num_hidden_layers": 8},
    "zamba2": {"layer_types": ["linear_attention", "hybrid"] * 2, "attention_head_dim": 16},
}
"""what single families need beyond `SIZES`; parts of nested configurations are merged in"""


def tiny_config(model_type: str, **settings: Any) -> PretrainedConfig:
    """A configuration of that type with a few small layers; `settings` override what is chosen."""
    chosen = {**EXTRAS.get(model_type, {}), **settings}
    config: PretrainedConfig = CONFIG_MAPPING[model_type](**_small(model_type, chosen))
    _fit_rotary_sections(config)
    return config


def _small(model_type: str, chosen: dict[str, Any]) -> dict[str, Any]:
    default = CONFIG_MAPPING[model_type](**{k: v for k, v in chosen.items() if k == "is_decoder"})
    small = _small_settings(default)
    for name, part in vars(default).items():
        if isinstance(part, PretrainedConfig):
            nested = {**part.to_dict(), **_small_settings(part), **chosen.get(name, {})}
            small[name] = {k: v for k, v in nested.items() if k not in PER_LAYER}
    return {**small, **{k: v for k, v in chosen.items() if not isinstance(v, dict)}}


def _small_settings(config: PretrainedConfig) -> dict[str, Any]:
    known = {config.attribute_map.get(name, name): size for name, size in SIZES.items()}
    small: dict[str, Any] = {}
    for name, value in vars(config).items():
        if name in known and isinstance(value, int) and value > known[name]:
            small[name] = known[name]
        elif name in ("intermediate_size", "head_dim", "num_key_value_heads") and value is None:
            small[name] = SIZES[name]
    if "kv_lora_rank" in vars(config):  # latent attention has no groups
        small["num_key_value_heads"] = HEADS
    return {**small, **{name: token for name, token in TOKENS.items() if hasattr(config, name)}}


def _fit_rotary_sections(config: PretrainedConfig) -> None:
    """Sections of multimodal rotary embeddings must add up to half of a head."""
    for part in [config, *(v for v in vars(config).values() if isinstance(v, PretrainedConfig))]:
        for value in vars(part).values():
            if isinstance(value, dict) and "mrope_section" in value:
                value["mrope_section"] = [1, 1, HEAD_DIM // 2 - 2]

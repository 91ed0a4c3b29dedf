"""Layouts of model families: the names that lead to heads and MLPs, and families without any.

Data alone; `architectures.py` reads it. Users add to it with `register_architecture`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Layout:
    """The names that lead from a decoder layer to its output projection, and to its MLP block."""

    attention: str
    """Attribute of the layer that holds the attention module, dotted if nested."""
    projection: str
    """Attribute of the attention module that is the output projection."""
    mlp: str | None = None
    """Part of the layer whose output is all that the MLP block adds, dotted; probed for if None."""


LAYOUTS: dict[str, Layout] = {
    "bloom": Layout("self_attention", "dense", "mlp.dense_4h_to_h"),
    "cpmant": Layout("self_att.self_attention", "attention_out", "ffn.ffn"),
    "dbrx": Layout("norm_attn_norm.attn", "out_proj"),
    "gpt2": Layout("attn", "c_proj"),
    "llama": Layout("self_attn", "o_proj"),
    "mistral": Layout("self_attn", "o_proj"),
    "mpt": Layout("attn", "out_proj", "ffn.down_proj"),
    "opt": Layout("self_attn", "out_proj"),
}
"""Known layouts by the configuration's `model_type`. Others are probed for."""

PROBED_ATTENTION = (
    "self_attn",
    "attn",
    "attention",
    "self_attention",
    "attn.attention",
    "multi_head_attention",
    "self_att.self_attention",
    "temporal_block",
    "mixer",
    "shared_transformer.self_attn",
    "shared_transf.self_attn",
    "",
)
"""Names of attention modules in layers; the empty name is the layer itself."""

PROBED_PROJECTION = (
    "o_proj",
    "out_proj",
    "c_proj",
    "dense",
    "wo",
    "Wo",
    "output.dense",
    "o_proj.linear",
    "o_a_proj",
    "attention_out",
    "out_lin",
)

PROBED_MLP = (
    "mlp",
    "feed_forward",
    "ffn",
    "block_sparse_moe",
    "shared_mlp",
    "moe",
    "share_expert",
    "mlp_block",
    "fc2",
    "output.dense",
    "shared_transf.feed_forward",
    "shared_transformer.feed_forward",
)
"""Names of MLP blocks in layers, or of what a layer without such a module adds; all that a layer
has together are its block."""

PROBED_MLP_NORM = (
    "post_feedforward_layernorm",
    "post_mlp_layernorm",
    "post_ffn_norm",
    "post_norm2",
)
"""Names of the norm between a layer's MLP block and the residual stream."""

OTHER_TOWERS = ("vision", "image", "visual", "audio", "speech", "protein", "connector")
"""Parts of the paths of stacks that are not the text decoder, looked at last."""

NOT_DECODING = (*OTHER_TOWERS, "encoder_attn", "crossattention", "gated_cross_attn")
"""Parts of the paths of attention that looks at something else than the text."""

NO_HEADS = ("linear", "mamba", "conv", "recurrent", "moe", "mlp")
"""Parts of the names in a configuration's `layer_types` of layers without softmax attention."""

TEXT_DECODERS = {
    "blip": "text_decoder",
    "blip-2": "language_model",
    "instructblip": "language_model",
    "instructblipvideo": "language_model",
    "kosmos-2": "text_model",
}
"""`model_type` of models that run with an image only -> their part that runs on text alone."""

NOT_TEXT_DECODERS = {
    "diffusion_gemma": "it fills in a canvas, and is no causal decoder",
    "gemma4_assistant": "it drafts from the states of another model",
    "gemma4_unified_assistant": "it drafts from the states of another model",
    "idefics": "it does not run without an image",
    "musicgen": "it decodes audio codes",
    "musicgen_melody": "it decodes audio codes",
    "pi0": "it reads the state of a robot",
}
"""`model_type` -> why it is no causal decoder over text alone."""

UNSUPPORTED = {
    "jetmoe": "it chooses its heads anew for each token, so that none has a slice of its own",
    "xlnet": "its output projection is a bare parameter, which takes no hook",
}
"""`model_type` -> why its heads cannot be gated."""

_registered: dict[str, Layout] = {}


def register_architecture(
    model_type: str, *, attention: str, projection: str, mlp: str | None = None
) -> None:
    """Register the places of a model family's heads and MLPs; overrides the table and the probe.

    Args:
        model_type: `model.config.model_type` of the family.
        attention: name of the attention module inside a decoder layer, e.g. `"self_attn"`.
        projection: name of the output projection inside the attention module, e.g. `"o_proj"`.
        mlp: name of the part of a decoder layer whose output is all that its MLP block adds to the
            residual stream, e.g. `"mlp"`, or the norm behind it; for `unit="head_and_mlp"`. Probed
            for if not given.

    Example:
        >>> register_architecture("mymodel", attention="mixer", projection="out")
    """
    _registered[model_type] = Layout(attention, projection, mlp)


def known_layout(model_type: str) -> Layout | None:
    """Look up the layout registered for a model type, or the table's; others are probed for."""
    return _registered.get(model_type) or LAYOUTS.get(model_type)


def reason_against(model_type: str) -> str | None:
    """Look up why the heads of this model type cannot be gated, if that is known."""
    reasons = {**NOT_TEXT_DECODERS, **UNSUPPORTED}
    return None if model_type in _registered else reasons.get(model_type)

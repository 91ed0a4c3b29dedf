"""Facts about a model: its name, architecture, device and text decoder."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from chg.models.layouts import TEXT_DECODERS
from chg.models.weights import describe_weights


def is_encoder_decoder(model: nn.Module) -> bool:
    """Tell a model that reads its input with an encoder, and so is no decoder over text alone."""
    configs = (getattr(model, "config", None), text_config(model))
    return any(bool(getattr(config, "is_encoder_decoder", False)) for config in configs)


def text_decoder(model: Any) -> Any:
    """Take the part of a model that runs on text alone: all of it, unless it needs an image."""
    model_type = getattr(getattr(model, "config", None), "model_type", "")
    return getattr(model, TEXT_DECODERS.get(model_type, ""), model)


def architecture_name(model: nn.Module) -> str:
    """Read the configuration's `model_type`, or the class name where there is none."""
    return str(getattr(text_config(model), "model_type", type(model).__name__))


def input_device(model: nn.Module) -> torch.device:
    """Find the device that token ids go to: that of the input embedding."""
    device: torch.device = model.get_input_embeddings().weight.device  # type: ignore[operator]
    return device


def max_positions(model: Any) -> int | None:
    """Tokens that a row may have at most; None where the model does not say."""
    positions = getattr(model.config, "max_position_embeddings", None)
    return positions if isinstance(positions, int) else None


def model_name(model: nn.Module) -> str:
    """Name the model as it was loaded, or by its class where it was not loaded."""
    name = getattr(getattr(model, "config", None), "_name_or_path", "")
    return str(name) or type(model).__name__


def text_config(model: nn.Module) -> Any:
    """Read the configuration of the model's text decoder."""
    config = getattr(model, "config", None)
    get_text_config = getattr(config, "get_text_config", None)
    return get_text_config(decoder=True) if callable(get_text_config) else config


PARALLEL_MODELS = {"codegen", "cohere", "cohere2", "gptj", "phi"}
"""Architectures whose MLP always reads what the attention of its layer reads."""
PARALLEL_FLAGS = ("use_parallel_residual", "parallel_attn")
"""Settings that say so of others."""


def has_parallel_mlp(model: nn.Module) -> bool:
    """Tell a model whose MLPs run beside the attention of their layers, not after it."""
    config = text_config(model)
    flags = any(bool(getattr(config, flag, False)) for flag in PARALLEL_FLAGS)
    return flags or architecture_name(model) in PARALLEL_MODELS


def describe_model(model: nn.Module, *, known: bool = False) -> dict[str, Any]:
    """Describe a model: name, revision (the commit it resolved to), architecture, dtype, weights.

    Args:
        model: a model; left as it is.
        known: take a hash of the weights that is known, as `describe_weights` does.
    """
    config = getattr(model, "config", None)
    return {
        "model": model_name(model),
        "revision": getattr(config, "_commit_hash", None),
        "architecture": architecture_name(model),
        "hidden_size": getattr(text_config(model), "hidden_size", None),
        "parallel_mlp": has_parallel_mlp(model),
        "dtype": str(next(model.parameters()).dtype).removeprefix("torch."),
        **describe_weights(model, known=known),
    }

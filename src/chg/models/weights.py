"""Identity of a model's weights: a hash of them, the adapters at work, and the quantization.

1. Hashed are parameters, those of adapters among them, and buffers that are saved with them.
   Tensor by tensor, so that an accelerator's are never all in memory.
2. A result is always described by a fresh hash. Only a comparison that leads to a warning takes one
   that is known, as long as no tensor was replaced or written in place.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn

WEIGHTS = ("weights", "adapters", "quantization")
"""Keys of a model's description that say which weights it is of."""

DEQUANTIZED_FROM = "dequantized_from"
"""Entry of a configuration: the type that the weights had in the file that they were read from."""

_known: WeakKeyDictionary[nn.Module, tuple[Any, str | None]] = WeakKeyDictionary()
"""Models with the state of their tensors, and the hash in that state."""


def describe_weights(model: nn.Module, *, known: bool = False) -> dict[str, Any]:
    """Describe the weights of a model: their hash, the adapters at work, and the quantization.

    Args:
        model: a model; left as it is.
        known: take the hash of an earlier call where no tensor has changed since, as far as torch
            counts changes (it does not count those through `.data`).
    """
    state = _state(model)
    before = _known.get(model) if known else None
    if before is None or before[0] != state:
        before = state, hash_weights(model)
        _known[model] = before
    return {
        "weights": before[1],
        "adapters": active_adapters(model),
        "quantization": quantization(model),
    }


def hash_weights(model: nn.Module) -> str | None:
    """Hash names, types, shapes and bytes of all weights; None where some are out of reach.

    The hash is the same in every process and on every device. Weights that were loaded in another
    precision are other weights.
    """
    held = {name: _within_reach(model, name, tensor) for name, tensor in _tensors(model)}
    if any(tensor.is_meta for tensor in held.values()):
        return None
    distinct = {id(tensor): tensor for tensor in held.values()}  # tied weights are read once
    digests = {key: _digest(tensor) for key, tensor in distinct.items()}
    whole = hashlib.blake2b(digest_size=8)
    for name, tensor in sorted(held.items()):
        whole.update(f"{name} {digests[id(tensor)]}\n".encode())
    return whole.hexdigest()


def active_adapters(model: nn.Module) -> list[str]:
    """List the names of the adapters (of peft) that take part in a forward pass."""
    names: set[str] = set()
    for module in model.modules():
        # Layers of peft have the flag; models of transformers have a method of this name.
        if getattr(module, "disable_adapters", True) is False:
            names.update(getattr(module, "active_adapters", ()))
    return sorted(names)


def quantization(model: nn.Module) -> str:
    """Name how the weights are or were quantized: `bitsandbytes 4bit`, `dequantised from Q4_1`.

    Returns:
        `none` where they are not, and nothing says that they ever were.
    """
    config = getattr(model, "config", None)
    origin = getattr(config, DEQUANTIZED_FROM, None)
    settings = getattr(config, "quantization_config", None)
    parts = [f"dequantised from {origin}"] if origin else []
    if settings is not None:
        parts.append(_method(settings if isinstance(settings, Mapping) else settings.to_dict()))
    return ", ".join(parts) or "none"


def _method(settings: Mapping[str, Any]) -> str:
    """The method of a quantization, and its bits where they are told."""
    method = settings.get("quant_method", "unknown")
    loaded = [bits for bits in (4, 8) if settings.get(f"load_in_{bits}bit")]
    torchao = re.search(r"Int(\d)Weight|'int(\d)'", str(settings.get("quant_type", "")))
    named = torchao and (torchao[1] or torchao[2])
    bits = next(iter(loaded), settings.get("bits", named))
    return str(getattr(method, "value", method)) + (f" {bits}bit" if bits else "")


def count_weights(parameter: Tensor) -> int:
    """Count the weights in a parameter, of which bitsandbytes packs several into a byte."""
    packed = getattr(parameter, "quant_state", None)
    return parameter.numel() if packed is None else math.prod(packed.shape)


def weights_difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Say how two described models differ in their weights; empty where nothing shows that they do.

    Hashes of another precision, and those that either does not have, cannot be compared.
    """
    hashed = before.get("weights") and now.get("weights")
    alike = before.get("dtype") == now.get("dtype")
    compared = [
        key for key in WEIGHTS if key in before and (key != "weights" or (hashed and alike))
    ]
    if all(before[key] == now.get(key) for key in compared):
        return ""
    return f"{_phrase(before)} there, {_phrase(now)} now"


def _phrase(described: Mapping[str, Any]) -> str:
    parts = [str(described.get("weights") or "without a hash")]
    parts += [f"adapter {name}" for name in described.get("adapters", ())]
    if described.get("quantization", "none") != "none":
        parts.append(str(described["quantization"]))
    return " + ".join(parts)


def _state(model: nn.Module) -> list[tuple[int, int]]:
    """The identity of every tensor of a model, and how often it was written."""
    tensors = [*model.parameters(), *model.buffers()]
    return [(id(one), 0 if one.is_inference() else one._version) for one in tensors]


def _tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Parameters and saved buffers with their names; a tied one under each of its names.

    Not by `state_dict`: that of bitsandbytes' 4-bit weights changes the model on some CPUs.
    """
    for path, module in model.named_modules(remove_duplicate=False):
        kept = dict(module.named_buffers(recurse=False))
        saved = kept.keys() - module._non_persistent_buffers_set
        tensors = {**module._parameters, **{name: kept[name] for name in saved}}
        for name, tensor in tensors.items():
            if tensor is not None:
                yield f"{path}.{name}".replace("_orig_mod.", "").lstrip("."), tensor


def _within_reach(model: nn.Module, name: str, tensor: Tensor) -> Tensor:
    """A tensor, or the values that accelerate keeps for it elsewhere."""
    if not tensor.is_meta:
        return tensor
    path, _, leaf = name.rpartition(".")
    kept = getattr(getattr(model.get_submodule(path), "_hf_hook", None), "weights_map", None)
    return tensor if kept is None else kept[leaf]


def _digest(tensor: Tensor) -> str:
    """Hash type, shape and bytes of a tensor, or of those that it is made of."""
    parts = getattr(tensor, "__tensor_flatten__", None)
    if parts is not None:
        return " ".join(_digest(getattr(tensor, name)) for name in parts()[0])
    data = tensor.data.cpu().contiguous().flatten().view(torch.uint8).numpy()
    shape = tensor.shape
    packed = getattr(tensor, "quant_state", None)
    if packed is not None:
        # bitsandbytes arranges 4-bit weights anew at the first pass on some CPUs, and rounds their
        # scales; the number of weights at each of the 16 levels stays.
        pairs = np.bincount(data, minlength=256).reshape(16, 16)
        data, shape = pairs.sum(0) + pairs.sum(1), packed.shape
    digest = hashlib.blake2b(f"{tensor.dtype} {list(shape)} ".encode(), digest_size=16)
    digest.update(data.data)
    return digest.hexdigest()

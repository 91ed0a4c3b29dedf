"""Models and tokenizers by name: the hub, a local folder, or the model that ships with chg."""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from chg.config import ModelConfig
from chg.errors import ModelError, reason
from chg.models.adapters import put_on
from chg.models.describe import text_decoder
from chg.models.failures import model_errors
from chg.models.gguf import as_plain, dequantizing, gguf_type, without_bars
from chg.models.quantizing import quantizing, require_quantized
from chg.models.sources import Source, find_source

if TYPE_CHECKING:
    from transformers import PreTrainedModel

logger = logging.getLogger(__name__)

TOKENIZER_FILES = ("*tok*", "*vocab*", "*.model", "merges.txt")
"""Names of which every folder with a tokenizer has one."""


def load_model(model: str | ModelConfig, **settings: Any) -> tuple[PreTrainedModel, Any]:
    """Load a causal language model and its tokenizer.

    Args:
        model: a name (hub, local folder, GGUF file, `builtin:tiny`) or a full `ModelConfig`.
        settings: further fields of `ModelConfig`, such as `dtype="bfloat16"`.

    Returns:
        `(model, tokenizer)`, the model in eval mode; of one that needs an image, its text decoder;
        of one with an adapter, a `PeftModel`.

    Raises:
        ModelError: with what was wrong and what to do.

    Example:
        >>> model, tokenizer = load_model("builtin:tiny")
    """
    config = model if isinstance(model, ModelConfig) else ModelConfig(model=model, **settings)
    source = find_source(config)
    device = _device(config.device)
    kind = None if source.gguf is None else gguf_type(source.gguf)
    if kind is not None:
        logger.info("%s: dequantised from %s", source.gguf, kind)
    with model_errors(source):
        tokenizer, loaded = _tokenizer(source, config), _weights(source, config, device)
    if source.gguf is not None:
        as_plain(loaded, kind)
    if config.quantize is not None:
        require_quantized(loaded, source.name)
    if source.name != source.place:
        loaded.config._name_or_path = source.name  # results name the model, not a folder
    if source.adapter is not None:
        loaded = put_on(loaded, source.adapter, source.base)
    return loaded.eval(), tokenizer


def load_without_weights(config: ModelConfig) -> Any:
    """The model as its configuration describes it, on the meta device: shapes, but no values.

    Adapters are left out, and weights are as they are before `quantize`.

    Raises:
        ModelError: with what was wrong and what to do.
    """
    source = find_source(config)
    kind = None if source.gguf is None else gguf_type(source.gguf)
    with model_errors(source):
        described = _described(source, config)
        dtype = _dtype(config, _device(config.device))
        if dtype == "auto":
            dtype = _own_dtype(described)
        with torch.device("meta"):
            model = _auto_class(described).from_config(
                described, dtype=dtype, trust_remote_code=config.trust_remote_code
            )
    if source.gguf is not None:
        as_plain(model, kind)
    return text_decoder(model).eval()


def _shared(config: ModelConfig) -> dict[str, Any]:
    return {"revision": config.revision, "trust_remote_code": config.trust_remote_code}


def _described(source: Source, config: ModelConfig) -> Any:
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(source.place, **source.arguments, **_shared(config))


def _tokenizer(source: Source, config: ModelConfig) -> Any:
    from transformers import AutoTokenizer

    place, arguments = source.tokenizer
    # Without any file some classes of transformers make a tokenizer that knows no word.
    if Path(place).is_dir() and not arguments and not _has_tokenizer(Path(place)):
        raise ModelError(
            f"model folder {place} has no tokenizer; tokenizer.save_pretrained({place!r}) puts one "
            "there"
        )
    return AutoTokenizer.from_pretrained(place, **arguments, **_shared(config))


def _has_tokenizer(folder: Path) -> bool:
    return any(next(folder.glob(pattern), None) for pattern in TOKENIZER_FILES)


def _weights(source: Source, config: ModelConfig, device: torch.device) -> Any:
    """The model with its weights, on its device or devices.

    Raises:
        ModelError: some weights are nowhere, or cannot be quantized.
    """
    described, dtype = _described(source, config), _dtype(config, device)
    settings: dict[str, Any] = {"device_map": config.device_map} if config.device_map else {}
    if config.attn_implementation:
        settings["attn_implementation"] = config.attn_implementation
    if source.gguf is not None:
        settings |= {"config": described, **source.arguments, **dequantizing()}
    if config.quantize is not None:
        if getattr(described, "quantization_config", None) is not None:
            raise ModelError(f"{source.name} is quantised already; leave --quantize out")
        compute = _own_dtype(described) if dtype == "auto" else dtype
        settings["quantization_config"] = quantizing(config.quantize, compute)
        settings.setdefault("device_map", {"": device})
    with without_bars() if source.gguf is not None else contextlib.nullcontext():
        loaded, report = _auto_class(described).from_pretrained(
            source.place, dtype=dtype, output_loading_info=True, **_shared(config), **settings
        )
    _require_complete(source, sorted(report["missing_keys"]))
    loaded = text_decoder(loaded)
    return loaded if "device_map" in settings else loaded.to(device)


def _require_complete(source: Source, missing: list[str]) -> None:
    """See that every weight of a GGUF file was read, and warn of others that were not.

    Raises:
        ModelError: some are not in the file.
    """
    if not missing:
        return
    lacks = f"{source.base} lacks {len(missing)} of the model's tensors, such as {missing[0]}"
    if source.gguf is not None:
        raise ModelError(lacks)
    logger.warning("%s: they are random", lacks)


def _auto_class(described: Any) -> Any:
    """The class to load with: models that also see images are not causal models by name."""
    from transformers import (
        MODEL_FOR_CAUSAL_LM_MAPPING,
        MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
        AutoModelForCausalLM,
        AutoModelForImageTextToText,
    )

    kind = type(described)
    sees = kind in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING and kind not in MODEL_FOR_CAUSAL_LM_MAPPING
    return AutoModelForImageTextToText if sees else AutoModelForCausalLM


def _device(name: str) -> torch.device:
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ModelError(f"device {name!r} cannot be used here: {reason(error)}") from error
    return device


def _dtype(config: ModelConfig, device: torch.device) -> Any:
    if config.dtype != "auto":
        return getattr(torch, config.dtype)
    on_cpu = device.type == "cpu" and config.device_map is None
    return torch.float32 if on_cpu else "auto"


def _own_dtype(described: Any) -> torch.dtype:
    """The precision that a checkpoint says it has."""
    return getattr(described, "dtype", None) or torch.float32

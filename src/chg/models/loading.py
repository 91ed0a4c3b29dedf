"""Models and tokenizers by name: the hub, a local folder, or the model that ships with chg."""

from __future__ import annotations

import json
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from chg.config import ModelConfig
from chg.errors import ModelError
from chg.models.describe import text_decoder

if TYPE_CHECKING:
    from transformers import PreTrainedModel


BUILTIN_MODELS = {"builtin:tiny": "tiny"}


def load_model(model: str | ModelConfig, **settings: Any) -> tuple[PreTrainedModel, Any]:
    """Load a causal language model and its tokenizer.

    Args:
        model: a name (hub, local folder, `builtin:tiny`) or a full `ModelConfig`.
        settings: further fields of `ModelConfig`, such as `dtype="bfloat16"`.

    Returns:
        `(model, tokenizer)`, the model in eval mode; of one that needs an image, its text decoder.

    Raises:
        ModelError: with what was wrong and what to do.

    Example:
        >>> model, tokenizer = load_model("builtin:tiny")
    """
    from transformers import AutoTokenizer

    config = model if isinstance(model, ModelConfig) else ModelConfig(model=model, **settings)
    source = _source(config.model)
    device = _device(config.device)
    shared = {"revision": config.revision, "trust_remote_code": config.trust_remote_code}
    placement: dict[str, Any] = {"device_map": config.device_map} if config.device_map else {}
    if config.attn_implementation:
        placement["attn_implementation"] = config.attn_implementation
    dtype = _dtype(config, device)
    try:
        tokenizer = AutoTokenizer.from_pretrained(_tokenizer_source(source), **shared)
        auto = _auto_class(source, shared)
        loaded = text_decoder(auto.from_pretrained(source, dtype=dtype, **shared, **placement))
        if not config.device_map:
            loaded = loaded.to(device)
    except Exception as error:  # damaged files end anywhere in their readers
        raise ModelError(_load_failure(config.model, error)) from error
    if config.model in BUILTIN_MODELS:
        loaded.config._name_or_path = config.model  # results name the model, not a folder
    return loaded.eval(), tokenizer


def load_without_weights(config: ModelConfig) -> Any:
    """The model as its configuration describes it, on the meta device: shapes, but no values.

    Raises:
        ModelError: with what was wrong and what to do.
    """
    from transformers import AutoConfig

    shared = {"revision": config.revision, "trust_remote_code": config.trust_remote_code}
    source = _source(config.model)
    try:
        described = AutoConfig.from_pretrained(_base(source), **shared)
        dtype = _dtype(config, _device(config.device))
        if dtype == "auto":
            dtype = getattr(described, "dtype", None) or torch.float32
        with torch.device("meta"):
            model = _auto_class(source, shared).from_config(
                described, dtype=dtype, trust_remote_code=config.trust_remote_code
            )
    except Exception as error:  # damaged files end anywhere in their readers
        raise ModelError(_load_failure(config.model, error)) from error
    return text_decoder(model).eval()


def _auto_class(source: str, shared: dict[str, Any]) -> Any:
    """The class to load with: models that also see images are not causal models by name."""
    from transformers import (
        MODEL_FOR_CAUSAL_LM_MAPPING,
        MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
        AutoConfig,
        AutoModelForCausalLM,
        AutoModelForImageTextToText,
    )

    kind = type(AutoConfig.from_pretrained(_base(source), **shared))
    sees = kind in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING and kind not in MODEL_FOR_CAUSAL_LM_MAPPING
    return AutoModelForImageTextToText if sees else AutoModelForCausalLM


def _base(source: str) -> str:
    """The model that a folder with an adapter of peft is for; any other model itself.

    Raises:
        ModelError: it is an adapter, and peft is not installed.
        KeyError: the adapter does not say what it is for.
    """
    settings = Path(source) / "adapter_config.json"
    if not settings.is_file():
        return source
    if find_spec("peft") is None:
        raise ModelError(
            f"{source} holds an adapter of peft, which is not installed: pip install peft"
        )
    return str(json.loads(settings.read_text(encoding="utf-8"))["base_model_name_or_path"])


def _tokenizer_source(source: str) -> str:
    """The folder itself where it has a tokenizer; an adapter's need not."""
    return source if (Path(source) / "tokenizer_config.json").is_file() else _base(source)


def _source(name: str) -> str:
    if name.startswith("builtin:"):
        if name not in BUILTIN_MODELS:
            raise ModelError(f"unknown model {name!r}; built in: {', '.join(BUILTIN_MODELS)}")
        return str(files("chg.builtin") / BUILTIN_MODELS[name])
    if name.startswith((".", "/", "~")) and not Path(name).expanduser().is_dir():
        raise ModelError(f"model folder {name} does not exist")
    return str(Path(name).expanduser()) if name.startswith("~") else name


def _device(name: str) -> torch.device:
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ModelError(f"device {name!r} cannot be used here: {_line(error)}") from error
    return device


def _dtype(config: ModelConfig, device: torch.device) -> Any:
    if config.dtype != "auto":
        return getattr(torch, config.dtype)
    on_cpu = device.type == "cpu" and config.device_map is None
    return torch.float32 if on_cpu else "auto"


def _load_failure(name: str, error: Exception) -> str:
    text = _line(error)
    local = Path(name).expanduser().is_dir()
    unreachable = any(word in str(error) for word in ("connect", "offline", "OFFLINE", "cached"))
    if not local and unreachable:
        return (
            f"model {name!r} is not a local folder and the Hugging Face hub cannot be reached; use "
            "a local folder, or --model builtin:tiny, which ships with chg"
        )
    if not local:
        return (
            f"model {name!r} was not found: {text} Check the name, give a local folder, or use "
            "--model builtin:tiny, which ships with chg"
        )
    return f"model folder {name} could not be loaded: {text}"


def _line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]

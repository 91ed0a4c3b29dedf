"""Adapters of peft: found, read from safetensors alone, and put on the model that they are for."""

from __future__ import annotations

import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from chg.errors import ChgError, ModelError
from chg.files import read_json

SETTINGS, WEIGHTS_FILE = "adapter_config.json", "adapter_model.safetensors"
MODEL_WEIGHTS = ("model*.safetensors", "pytorch_model*.bin")


UNREACHABLE = ("connect", "offline", "OFFLINE", "cached")
"""Words of which the hub's packages use one where they cannot reach it."""


def unreachable(message: str) -> bool:
    """Tell by an error's message that the hub could not be reached."""
    return any(word in message for word in UNREACHABLE)


def is_adapter(folder: Path) -> bool:
    """Tell a folder that holds an adapter alone from one that holds a model."""
    holds_model = any(next(folder.glob(pattern), None) for pattern in MODEL_WEIGHTS)
    return (folder / SETTINGS).is_file() and not holds_model


def base_of(folder: Path) -> str:
    """Read the name of the model that an adapter is for.

    Raises:
        ModelError: its settings do not say, or cannot be read.
    """
    _require_peft(folder)
    try:
        named = read_json(folder / SETTINGS, "the settings of an adapter").get(
            "base_model_name_or_path"
        )
    except ChgError as error:
        raise ModelError(str(error)) from error
    if not isinstance(named, str) or not named:
        raise ModelError(
            f"{folder / SETTINGS} does not name the model that the adapter is for; give that as "
            f"--model, and --adapter {folder}"
        )
    return named


def adapter_folder(name: str) -> Path:
    """Find an adapter by its folder or its name on the hub.

    Raises:
        ModelError: there is none, or peft is not installed.
    """
    _require_peft(name)
    folder = Path(name).expanduser()
    if not folder.exists() and not name.startswith((".", "/", "~")):
        folder = _fetched(name)
    if not folder.is_dir():
        raise ModelError(f"adapter folder {name} does not exist")
    if not (folder / SETTINGS).is_file():
        raise ModelError(f"{name} is no adapter of peft: it has no {SETTINGS}")
    return folder


def put_on(model: Any, folder: Path, base: str) -> Any:
    """Put an adapter on a model, all of it or none.

    Args:
        model: the model that the adapter is for; its layers are wrapped in place.
        folder: the adapter.
        base: name of the model, for messages.

    Returns:
        The `PeftModel` around the model.

    Raises:
        ModelError: the adapter has no safetensors, is damaged, or is for another model.
    """
    from peft import PeftModel

    config = _settings(folder)
    _require_readable(folder / WEIGHTS_FILE)
    renamed = getattr(model, "_checkpoint_conversion_mapping", {})
    try:
        adapted = PeftModel(model, config, "default", autocast_adapter_dtype=False)
        loaded = adapted.load_adapter(
            str(folder),
            "default",
            torch_device="cpu",
            autocast_adapter_dtype=False,
            key_mapping=renamed,
        )
        astray = [*loaded.unexpected_keys, *loaded.missing_keys]
    except Exception as error:  # what does not fit fails anywhere in peft
        raise ModelError(_misfit(folder, config, base, str(error))) from error
    if astray:
        raise ModelError(_misfit(folder, config, base, f"{astray[0]} is in one of them alone"))
    return adapted


def _settings(folder: Path) -> Any:
    """Read the settings of an adapter that changes weights.

    Raises:
        ModelError: they are damaged, or of another kind of adapter.
    """
    from peft import PeftConfig

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a newer peft's settings are told by name
            config = PeftConfig.from_pretrained(str(folder))
    except Exception as error:  # strangers' settings fail anywhere in peft
        raise ModelError(f"{folder / SETTINGS} cannot be read: {error}") from error
    # Megatron's would import the module that the settings name.
    if config.is_prompt_learning or getattr(config, "megatron_config", None):
        raise ModelError(f"adapter {folder} is none that changes weights alone, such as LoRA")
    config.inference_mode = True
    return config


def _require_readable(file: Path) -> None:
    from safetensors import SafetensorError, safe_open

    if not file.is_file():
        raise ModelError(f"adapter {file.parent} has no {file.name}; no other file is read")
    try:
        with safe_open(file, "pt"):
            pass
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{file} is damaged: {error}") from error


def _misfit(folder: Path, config: Any, base: str, why: str) -> str:
    return (
        f"adapter {folder} does not fit {base}; it was made for "
        f"{config.base_model_name_or_path!r} ({why})"
    )


def _fetched(name: str) -> Path:
    """Fetch an adapter from the hub, or find it in the cache."""
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=[SETTINGS, WEIGHTS_FILE]))
    except Exception as error:  # no network, no such name, no right to it
        why = "it cannot be reached" if unreachable(str(error)) else str(error)
        raise ModelError(
            f"adapter {name!r} is no local folder, and the Hugging Face hub did not give it: {why}"
        ) from error


def _require_peft(adapter: object) -> None:
    if find_spec("peft") is None:
        raise ModelError(f"{adapter}: adapters need peft, which is not installed: pip install peft")

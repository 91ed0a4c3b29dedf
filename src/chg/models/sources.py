"""Places of a model: the hub, a folder, a GGUF file, an adapter of peft on top."""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from chg.config import ModelConfig
from chg.errors import ModelError
from chg.models.adapters import adapter_folder, base_of, is_adapter

BUILTIN_MODELS = {"builtin:tiny": "tiny"}


@dataclass(frozen=True)
class Source:
    """Places that a model is read from."""

    name: str
    """Name of the model in results."""
    base: str
    """Name of the model without its adapter."""
    place: str
    """Hub name, or the folder of configuration and weights."""
    gguf: Path | None = None
    """GGUF file in that folder that holds everything."""
    adapter: Path | None = None
    """Folder of the adapter that goes on top."""

    @property
    def arguments(self) -> dict[str, Any]:
        """The file inside the place, as transformers wants to be told."""
        return {} if self.gguf is None else {"gguf_file": self.gguf.name}

    @property
    def tokenizer(self) -> tuple[str, dict[str, Any]]:
        """Place of the tokenizer, with its arguments: an adapter's own comes first."""
        if self.adapter is not None and (self.adapter / "tokenizer_config.json").is_file():
            return str(self.adapter), {}
        return self.place, self.arguments


def find_source(config: ModelConfig) -> Source:
    """Find the files of a model by its settings.

    Raises:
        ModelError: there is nothing of that name, several files could be meant, or an adapter is
            not what it should be; peft is not installed.
    """
    source = _model_source(config.model)
    if config.quantize is not None and source.gguf is not None:
        raise ModelError(
            f"{source.gguf} is quantised already, and --quantize takes weights that are not; leave "
            "--quantize out"
        )
    if config.adapter is None:
        return source
    if source.adapter is not None:
        raise ModelError(
            f"{config.model} is an adapter itself; give its base as --model, and one --adapter"
        )
    return replace(source, adapter=adapter_folder(config.adapter))


def _model_source(name: str) -> Source:
    if name.startswith("builtin:"):
        if name not in BUILTIN_MODELS:
            raise ModelError(f"unknown model {name!r}; built in: {', '.join(BUILTIN_MODELS)}")
        return Source(name, name, str(files("chg.builtin") / BUILTIN_MODELS[name]))
    path = Path(name).expanduser()
    if path.suffix.lower() == ".gguf" and not path.is_dir():
        if not path.is_file():
            raise ModelError(f"model file {name} does not exist")
        return Source(name, name, str(path.parent), gguf=path)
    if path.is_file():
        raise ModelError(f"{name} is a file; a model is a folder, a .gguf file or a hub name")
    if not path.is_dir():
        if name.startswith((".", "/", "~")):
            raise ModelError(f"model folder {name} does not exist")
        return Source(name, name, name)
    if is_adapter(path):
        return replace(_base_source(path), name=name, adapter=path)
    if not (path / "config.json").is_file():
        return Source(name, name, str(path), gguf=_only_gguf(path))
    place = str(path) if name.startswith("~") else name
    return Source(place, name, place)


def _only_gguf(folder: Path) -> Path:
    """The GGUF file of a folder that holds no other model.

    Raises:
        ModelError: there is none, or there are several.
    """
    packed = sorted(file for file in folder.iterdir() if file.suffix.lower() == ".gguf")
    if not packed:
        raise ModelError(
            f"model folder {folder} holds no model: no config.json, no GGUF file, no adapter"
        )
    if len(packed) > 1:
        listed = ", ".join(file.name for file in packed)
        raise ModelError(f"{folder} holds several GGUF files ({listed}); give one as --model")
    return packed[0]


def _base_source(adapter: Path) -> Source:
    """The model that an adapter is for.

    Raises:
        ModelError: it is not on this disk, or is an adapter too.
    """
    name = base_of(adapter)
    try:
        source = _model_source(name)
    except ModelError as error:
        raise ModelError(missing_base(adapter, name, str(error))) from error
    if source.adapter is not None:
        raise ModelError(f"{adapter} is an adapter of {name}, which is an adapter too")
    return source


def missing_base(adapter: Path, base: str, why: str) -> str:
    """Say that the model which an adapter names cannot be had."""
    return (
        f"{adapter} is an adapter of {base!r}, which cannot be loaded here ({why}); give that "
        f"model's place as --model, and --adapter {adapter}"
    )

"""GGUF files, whose weights are dequantised when they are loaded."""

from __future__ import annotations

import contextlib
import io
from collections import Counter
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from chg.errors import ModelError
from chg.models.weights import DEQUANTIZED_FROM

FLOATS = ("F64", "F32", "F16", "BF16")
"""Types of tensors that are not quantized."""


def gguf_type(path: Path) -> str | None:
    """Read the type that the weights of a GGUF file are quantized to, as in `Q4_1`.

    It is the type that the file says it has; else that of most of its weights.

    Returns:
        None where the weights are not quantized.

    Raises:
        ModelError: it is no GGUF file or a damaged one, or the package gguf is not installed.
    """
    if find_spec("gguf") is None:
        raise ModelError(
            f"{path} is a GGUF file, and the package gguf is not installed: pip install gguf"
        )
    from gguf import GGUFReader, LlamaFileType

    try:
        reader = GGUFReader(path)
        sizes: Counter[str] = Counter()
        for tensor in reader.tensors:
            sizes[tensor.tensor_type.name] += int(tensor.n_elements)
        said = reader.get_field("general.file_type")
        number = -1 if said is None else int(said.parts[said.data[0]][0])
    except Exception as error:  # damaged files end anywhere in the reader
        raise ModelError(
            f"{path} is no GGUF file, or a damaged one ({error}); fetch it again"
        ) from error
    quantized = [name for name, _ in sizes.most_common() if name not in FLOATS]
    if not quantized:
        return None
    named = {kind.value: kind.name.removeprefix("MOSTLY_") for kind in LlamaFileType}.get(
        number, ""
    )
    return named if named.startswith(tuple(quantized)) else quantized[0]


def dequantizing() -> dict[str, Any]:
    """Arguments by which transformers leaves no weight of a GGUF file packed."""
    try:
        from transformers import GgufConfig
    except ImportError:  # older releases know no other way
        return {}
    return {"quantization_config": GgufConfig(dequantize=True)}


def as_plain(model: Any, kind: str | None) -> None:
    """Make an ordinary model of one from a GGUF file; its configuration remembers the type."""
    for name in ("hf_quantizer", "quantization_method", "is_quantized"):
        model.__dict__.pop(name, None)
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    if kind is not None:
        setattr(model.config, DEQUANTIZED_FROM, kind)


@contextlib.contextmanager
def without_bars() -> Iterator[None]:
    """Keep the reader's progress bars, which nothing switches off, from standard error."""
    with contextlib.redirect_stderr(io.StringIO()):
        yield

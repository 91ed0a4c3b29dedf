"""Failures of other packages' readers, in a line that says what to do."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from chg.errors import ModelError
from chg.models.adapters import unreachable
from chg.models.sources import Source, missing_base

NO_TOKENIZER = (
    "its tokenizer cannot be read; tokenizer.json is missing or damaged, or the tokenizer needs "
    "pip install sentencepiece tiktoken"
)
OTHER_SHAPES = "its weights have other shapes than its configuration says"
IN_OTHER_WORDS = {
    "Couldn't instantiate the backend tokenizer": NO_TOKENIZER,
    "Converting from SentencePiece and Tiktoken failed": NO_TOKENIZER,  # transformers 4
    "ignore_mismatched_sizes": OTHER_SHAPES,
    "size mismatch for": OTHER_SHAPES,  # transformers 4
    "automatic conversion": "some of its weights cannot be quantised so; another --quantize may "
    "do, or pip install bitsandbytes",
}
"""Part of a message that helps nobody -> a better one."""


@contextlib.contextmanager
def model_errors(source: Source) -> Iterator[None]:
    """Say in a line what was wrong with a model, whatever its readers say.

    Raises:
        ModelError: with what was wrong and what to do.
    """
    try:
        yield
    except ModelError:
        raise
    except Exception as error:  # damaged files end anywhere in their readers
        told = str(error).strip() or type(error).__name__
        told = next((better for part, better in IN_OTHER_WORDS.items() if part in told), told)
        raise ModelError(_sentence(source, told)) from error


def _sentence(source: Source, told: str) -> str:
    name = source.base
    if Path(name).expanduser().exists():
        kind = "folder" if source.gguf is None else "file"
        return f"model {kind} {name} could not be loaded: {told}"
    lost = unreachable(told)
    if source.adapter is not None and source.name != name:
        why = "no local folder, and the hub cannot be reached" if lost else told
        return missing_base(source.adapter, name, why)
    if lost:
        return (
            f"model {name!r} is not a local folder and the Hugging Face hub cannot be reached; use "
            "a local folder, or --model builtin:tiny, which ships with chg"
        )
    return (
        f"model {name!r} was not found: {told} Check the name, give a local folder, or use "
        "--model builtin:tiny, which ships with chg"
    )

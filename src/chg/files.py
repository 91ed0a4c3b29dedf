"""Atomic writes, and JSON and tensors read back."""

from __future__ import annotations

import json
import os
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from chg.errors import OutputError, ResultsError

if TYPE_CHECKING:  # a verb proves that it can write before it loads torch
    from torch import Tensor

MANIFEST = "manifest.json"
"""File by which a study's folder is known."""
CONFIG = "config.yaml"
"""File of its settings, as `chg study --config` reads them."""


def ensure_writable(path: str | Path) -> Path:
    """Make the parent folder of `path` and prove that a file can be written there.

    Called before long work, so that an unwritable target costs a second and not an hour.

    Raises:
        OutputError: the folder cannot be made or written, or `path` is itself a folder.
    """
    path = Path(path)
    if path.is_dir():
        raise OutputError(f"cannot write {path}: it is a folder; give a file name")
    ensure_folder(path.parent)
    return path


def ensure_folder(folder: str | Path) -> Path:
    """Make `folder` and prove that a file can be written into it.

    Raises:
        OutputError: the folder cannot be made or written.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(
            f"cannot write into {folder}: {reason}; choose another output path"
        ) from error
    return folder


def require_usable_folder(path: str | Path, *, resume: bool) -> None:
    """Check that a study can go into a folder, before anything is loaded.

    Raises:
        OutputError: it holds something that is no study to go on with.
    """
    path = Path(path)
    if not path.exists():
        return
    # A run killed at its first file leaves a hidden one.
    if path.is_dir() and all(file.name.startswith(".") for file in path.iterdir()):
        return
    if not resume:
        raise OutputError(
            f"{path} exists already and is never overwritten; choose another --out, or go on with "
            "--resume"
        )
    if not (path / MANIFEST).is_file():
        raise OutputError(f"{path} holds no study to go on with; choose another --out")


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` that replaces `path` when the block ends without error.

    The temporary name keeps the ending, because writers choose their format by it. The file gets
    the mode of any new file there, whatever mode its writer gives it (safetensors: 0600).

    Raises:
        OutputError: the target cannot be written.
    """
    path = ensure_writable(path)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
    try:
        temporary.touch()  # the mode that the umask and the folder give
        mode = stat.S_IMODE(temporary.stat().st_mode)
        temporary.unlink()
        yield temporary
        temporary.chmod(mode)
        os.replace(temporary, path)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: str | Path, content: Mapping[str, Any], *, allow_nan: bool = True) -> None:
    """Write JSON, atomically.

    Args:
        path: the file.
        content: what a JSON object can hold.
        allow_nan: write NaN and infinities, which JSON proper does not know.

    Raises:
        OutputError: `path` cannot be written.
        ValueError: `content` holds a number that is not allowed.
    """
    with atomic_path(path) as temporary:
        text = json.dumps(content, indent=1, allow_nan=allow_nan)
        temporary.write_text(text + "\n", encoding="utf-8")


def read_json(path: Path, kind: str = "a JSON file as chg writes it") -> dict[str, Any]:
    """Read a JSON object.

    Args:
        path: the file.
        kind: a phrase for the error message that says which file was expected.

    Raises:
        ResultsError: the file is missing, damaged or holds no JSON object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ResultsError(f"{path} cannot be read: {error}") from error
    except ValueError as error:
        raise ResultsError(f"{path} is not {kind}: {error}") from error
    if not isinstance(content, dict):
        raise ResultsError(f"{path} is not {kind}: it holds no JSON object")
    return content


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the tensors of a file and the notes in its header.

    Raises:
        ResultsError: the file is missing or damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            notes = json.loads((file.metadata() or {}).get("notes", "{}"))
            return {name: file.get_tensor(name) for name in file.keys()}, notes  # noqa: SIM118
    except (SafetensorError, ValueError, OSError) as error:
        raise ResultsError(f"{path} is missing or damaged: {error}") from error

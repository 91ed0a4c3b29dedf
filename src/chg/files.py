"""Atomic writes, and JSON and tensors read back."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import math
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np
from safetensors import SafetensorError, safe_open

from chg.errors import ChgError, OutputError, ResultsError, reason

if TYPE_CHECKING:  # a verb proves that it can write before it loads torch
    from torch import Tensor

MANIFEST = "manifest.json"
"""File by which a study's folder is known."""
CONFIG = "config.yaml"
"""File of its settings, as `chg study --config` reads them."""

LONGEST_PART = 120
"""Bytes of what a text adds to a file's name at most (`name_part`); a name may have 255."""

PARTIAL = (".chg-", ".partial")
"""Beginning and end of the name of a folder with a file that is being written."""


def short_name(name: str) -> str:
    """Name without the folders above it, where it is a local path; any other name as it is.

    The split of a data set may follow the path, as in `/data/rows.jsonl:train`.
    """
    found = re.search(r":[^/\\]*$", name)
    path, split = (name[: found.start()], found[0]) if found else (name, "")
    plainly = re.match(r"[/~.\\]|[A-Za-z]:[/\\]", path)
    if not plainly and not os.path.exists(path):
        return name
    return (PureWindowsPath(path).name or Path(path).resolve().name) + split  # either slash


def counted(number: int, word: str) -> str:
    """A number and what it counts: `1 seed`, `2 seeds`."""
    return f"{number} {word}{'' if number == 1 else 's'}"


def ensure_writable(path: str | Path) -> Path:
    """Make the parent folder of `path` and prove that a file can be written there.

    Called before long work, so that an unwritable target costs a second and not an hour.

    Raises:
        OutputError: the folder cannot be made or written, or `path` can hold no file.
    """
    path = Path(path)
    with _output_errors(path):
        mode = path.stat().st_mode if path.exists() else stat.S_IFREG
    if stat.S_ISDIR(mode):
        raise OutputError(f"cannot write {path}: it is a folder; give a file name")
    # A link such as /dev/stdout would be replaced, even where it leads to a file.
    if not stat.S_ISREG(mode) or path.absolute().parent == Path("/dev"):
        raise OutputError(f"cannot write {path}: it is a device or a pipe; give a file name")
    ensure_folder(path.parent)
    return path


def ensure_folder(folder: str | Path) -> Path:
    """Make `folder`, prove that a file can be written into it, and clear what killed runs left.

    Raises:
        OutputError: the folder cannot be made or written.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OutputError(
            f"cannot write into {folder}: {reason(error)}; choose another output path"
        ) from error
    sweep(folder)
    return folder


def name_part(text: str) -> str:
    """A text as part of a file's name, without a dot: different texts have different ones."""
    quoted = quote(text, safe=" ").replace(".", "%2E")
    if len(quoted) <= LONGEST_PART:
        return quoted
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    return f"{quoted[: LONGEST_PART - len(digest) - 1]}-{digest}"


def require_usable_folder(path: str | Path, *, resume: bool) -> None:
    """Check that a study can go into a folder, before anything is loaded.

    Raises:
        OutputError: it holds something that is no study to go on with.
    """
    path = Path(path)
    if _is_unused(path):
        return
    if not resume:
        raise OutputError(
            f"{path} exists already and is never overwritten; choose another --out, or go on with "
            "--resume"
        )
    if not (path / MANIFEST).is_file():
        raise OutputError(f"{path} holds no study to go on with; choose another --out")


def require_new_folder(path: str | Path) -> None:
    """Check that nothing stands where a folder is to be written.

    Raises:
        OutputError: something does.
    """
    if not _is_unused(Path(path)):
        raise OutputError(f"{path} exists already and is never overwritten; choose another --out")


def _is_unused(path: Path) -> bool:
    if not path.exists():
        return True
    # A run killed at its first file leaves a hidden one.
    return path.is_dir() and all(file.name.startswith(".") for file in path.iterdir())


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path that replaces `path` when the block ends without error.

    It has the same name, because writers choose their format by the ending, in a folder of its own:
    hidden, new, with a name that nobody can guess. The file gets the mode of any new file there,
    whatever mode its writer gives it (safetensors: 0600).

    Raises:
        OutputError: the target cannot be written, or the disk is full.
    """
    path = ensure_writable(path)
    with _output_errors(path), _own_folder(path.parent) as folder:
        temporary = folder / path.name
        temporary.touch()  # the mode that the umask gives
        mode = stat.S_IMODE(temporary.stat().st_mode)
        temporary.unlink()
        yield temporary
        temporary.chmod(mode)
        os.replace(temporary, path.resolve() if path.is_symlink() else path)


@contextlib.contextmanager
def _output_errors(path: Path) -> Iterator[None]:
    """Say in one line that a file cannot be written, whatever library was writing it."""
    try:
        yield
    except ChgError:
        raise
    except Exception as error:
        below: BaseException | None = error
        while below is not None and not isinstance(below, OSError | SafetensorError):
            below = below.__cause__ or below.__context__  # a writer may wrap the system's error
        if below is None:
            raise
        raise OutputError(f"cannot write {path}: {reason(below)}") from error


@contextlib.contextmanager
def _own_folder(parent: Path) -> Iterator[Path]:
    """A new folder for one file, locked while its writer lives."""
    folder = Path(tempfile.mkdtemp(prefix=PARTIAL[0], suffix=PARTIAL[1], dir=parent))
    try:
        with _locked(folder) as locked:
            if locked and folder.exists():
                yield folder
                return
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    # A sweep found it before it was locked: seldom, and never often in a row.
    with _own_folder(parent) as another:
        yield another


def sweep(folder: Path) -> None:
    """Remove temporary files that killed runs left in a folder; those of a living one stay."""
    for left in folder.glob("*".join(PARTIAL)):
        # Another's folder may be locked, forbidden or gone by now.
        with contextlib.suppress(OSError), _locked(left) as locked:
            if locked:
                shutil.rmtree(left, ignore_errors=True)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Lock a folder, until the block or the process ends; false where it is gone or another's."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except FileNotFoundError:
        yield False
        return
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            locked = True
        except BlockingIOError:
            locked = False
        yield locked
    finally:
        os.close(handle)


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


def plain_json(value: Any) -> Any:
    """Replace numpy's numbers and arrays by Python's, and NaN, unknown to JSON, by None."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): plain_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain_json(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_text(path: Path) -> str:
    """Read a text file in UTF-8.

    Raises:
        OSError: the file is missing, cannot be read, or is a pipe or a device, which might never
            end.
        UnicodeDecodeError: it is not UTF-8.
    """
    if path.exists() and not (path.is_file() or path.is_dir() or path.parent == Path("/dev/fd")):
        raise OSError(errno.EINVAL, "it is a device or a pipe, not a file", str(path))
    return path.read_text(encoding="utf-8")


def read_json(path: Path, kind: str = "a JSON file as chg writes it") -> dict[str, Any]:
    """Read a JSON object.

    Args:
        path: the file.
        kind: a phrase for the error message that says which file was expected.

    Raises:
        ResultsError: the file is missing, damaged or holds no JSON object.
    """
    try:
        content = json.loads(read_text(path))
    except OSError as error:
        raise ResultsError(f"{path} cannot be read: {reason(error)}") from error
    except (ValueError, RecursionError) as error:
        raise ResultsError(f"{path} is not {kind}: {reason(error)}") from error
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
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, ValueError, RecursionError, OSError) as error:
        raise ResultsError(f"{path} is missing or damaged: {reason(error)}") from error
    if not isinstance(notes, dict):
        raise ResultsError(f"{path} is damaged: its notes are no JSON object")
    return tensors, notes

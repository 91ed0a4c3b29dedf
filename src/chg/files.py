"""Writing files so that a reader never meets half of one."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from chg.errors import OutputError


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
        OutputError: it cannot.
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


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` that replaces `path` when the block ends without error.

    The temporary name keeps the ending, because writers choose their format by it.

    Raises:
        OutputError: the target cannot be written.
    """
    path = ensure_writable(path)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)

"""Rows by name: the hub, local folders and files, and what ships with chg."""

from __future__ import annotations

import codecs
import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chg.errors import DataError, reason

if TYPE_CHECKING:
    from datasets import Dataset


FILE_FORMATS = {
    ".jsonl": "json",
    ".json": "json",
    ".csv": "csv",
    ".parquet": "parquet",
    ".txt": "text",
}
BUILTIN_PREFIX = "builtin:"
TASK_PREFIX = "task:"
NO_ROWS = (b"null", b"NaN", b"Infinity", b"-Infinity")
"""Rows of JSON at which the library ends the process."""


class SplitNotFoundError(DataError):
    """The dataset exists but has no such split."""


def resolve_split(name: str, config: str | None, split: str) -> tuple[Dataset, str]:
    """Load the rows of a split, where `auto` is `validation` if there is one and `train` if not.

    Returns:
        The rows, and the split they are of.

    Raises:
        DataError: as `read_rows`.
    """
    if split != "auto":
        return read_rows(name, config, split), split
    try:
        return read_rows(name, config, "validation"), "validation"
    except SplitNotFoundError:
        return read_rows(name, config, "train"), "train"


def is_local(name: str) -> bool:
    """True of what ships with chg and of a path, false of a name on the hub."""
    return (
        name.startswith((BUILTIN_PREFIX, TASK_PREFIX, ".", "/", "~"))
        or Path(name).suffix in FILE_FORMATS
        or os.path.exists(name)  # of a name too long as well, where Path raises
    )


def read_rows(name: str, config: str | None, split: str) -> Dataset:
    """Load the rows of one split.

    Args:
        name: `builtin:NAME`, a local file or folder, or a name on the hub.
        config: configuration of the dataset, if it has several.
        split: split with optional slice, `train[:100]`.

    Raises:
        DataError: with what was wrong and what is there instead.
    """
    if name.startswith(TASK_PREFIX):
        raise DataError(f"{name} has prompts and targets, not the columns of matched tuples")
    if name.startswith(BUILTIN_PREFIX):
        return _builtin(name.removeprefix(BUILTIN_PREFIX), config, split)
    path = Path(name)
    if not name.strip():
        raise DataError("--dataset is empty; give a name, a local file or folder, or builtin:icl")
    if os.path.isfile(name):
        if path.suffix not in FILE_FORMATS:
            raise DataError(
                f"{name} has an ending that is not read; use one of {', '.join(FILE_FORMATS)}"
            )
        _require_rows(path)
        with _as_it_is_now(path) as (stand_in, read):
            return _load(
                FILE_FORMATS[path.suffix], None, split, name, data_files=str(stand_in), **read
            )
    if os.path.isdir(name):
        for file in sorted([*path.rglob("*.json"), *path.rglob("*.jsonl")]):
            if file.is_file():
                _require_rows(file)
        with _as_it_is_now(path) as (stand_in, read):
            return _load(str(stand_in), config, split, name, **read)
    if is_local(name):
        raise DataError(f"data file {name} does not exist")
    return _load(name, config, split, name)


@contextmanager
def _as_it_is_now(path: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Read a local file or folder as it is now: the library's cache knows neither place nor
    content. Links stand for the files, since the library takes a name for a pattern.
    """
    with tempfile.TemporaryDirectory() as folder:
        stand_in = Path(folder) / f"data{path.suffix if path.is_file() else ''}"
        if path.is_file():
            stand_in.symlink_to(path.resolve())
        else:
            shutil.copytree(path.resolve(), stand_in, copy_function=os.symlink)
        yield stand_in, {"cache_dir": f"{folder}/cache", "keep_in_memory": True}


def _require_rows(path: Path) -> None:
    """See that a file has rows, none of them null: the library would end the process at those.

    Raises:
        DataError: it does not, or it cannot be read.
    """
    try:
        with path.open("rb") as file:
            lines = ((i, line.strip()) for i, line in enumerate(file, start=1) if line.strip())
            _, first = next(lines, (0, b""))
            first = first.removeprefix(codecs.BOM_UTF8)
            # Of one JSON value over many lines, a null is but a part.
            by_line = FILE_FORMATS.get(path.suffix) == "json" and first not in (b"[", b"{")
            null = (
                next((i for i, line in lines if line.startswith(NO_ROWS)), None)
                if by_line
                else None
            )
    except OSError as error:
        raise DataError(f"data file {path} cannot be read: {reason(error)}") from error
    if not first:
        raise DataError(f"data file {path} is empty; write a row per line")
    if by_line and first.startswith(NO_ROWS):
        null = 1
    if null is not None:
        raise DataError(f"{path}: line {null} is null; write a row with its columns")
    if first.startswith(b"[") and path.suffix == ".json":
        _require_objects(path)


def _require_objects(path: Path) -> None:
    """See that a JSON list holds rows alone; what is no JSON is left to the library.

    Raises:
        DataError: it holds something else.
    """
    with contextlib.suppress(ValueError, RecursionError):
        for number, row in enumerate(json.loads(path.read_bytes()), start=1):
            if not isinstance(row, dict):
                raise DataError(f"{path}: row {number} is {row!r}; write a row with its columns")


def _builtin(name: str, config: str | None, split: str) -> Dataset:
    from datasets import Dataset

    from chg.builtin import builtin_rows

    rows = Dataset.from_list(builtin_rows(name, config, base_split(split)))
    return rows.select(places_in(split, len(rows)))


def base_split(split: str) -> str:
    """The split that a slice is of."""
    return split.partition("[")[0]


def places_in(split: str, total: int) -> range:
    """Places of the rows of `train`, `train[:100]`, `train[5:10]` or `train[:5%]`, as the datasets
    library means them.

    Raises:
        DataError: the slice is none.
    """
    _, sliced, rest = split.partition("[")
    text = rest.rstrip("]") if sliced else ":"

    def bound(part: str, default: int) -> int:
        if not part:
            return default
        return int(part[:-1]) * total // 100 if part.endswith("%") else int(part)

    try:
        start, stop = text.split(":")
        return range(total)[bound(start, 0) : bound(stop, total)]
    except ValueError as error:
        raise DataError(
            f"split {split!r} is not understood; write e.g. train[:100] or train[:5%]"
        ) from error


def _load(builder: str, config: str | None, split: str, shown: str, **options: Any) -> Dataset:
    import datasets
    from datasets.exceptions import DatasetNotFoundError

    datasets.disable_progress_bars()
    link = str(options.get("data_files", builder))
    where = f"dataset {shown!r}" + (f" ({config})" if config else "")

    def failed(error: Exception, what: str = "could not be loaded") -> str:
        return f"{where} {what}: {reason(error).replace(link, shown)}"

    try:
        with _silent():
            return datasets.load_dataset(builder, config, split=split, **options)
    except DatasetNotFoundError as error:
        raise DataError(f"{where} was not found on the hub or in this folder") from error
    except (ConnectionError, datasets.exceptions.DatasetsError) as error:
        if os.path.exists(shown):
            raise DataError(failed(error)) from error
        raise DataError(
            f"{failed(error)}. If the hub cannot be reached, use a local file or folder, or "
            "--dataset builtin:icl, which ships with chg"
        ) from error
    except OSError as error:
        raise DataError(failed(error, "could not be read")) from error
    except Exception as error:  # files that are damaged or too deep end anywhere in its readers
        if isinstance(error, ValueError) and "split" in str(error).lower():
            raise SplitNotFoundError(f"{where}: {reason(error)}") from error
        raise DataError(failed(error)) from error


@contextmanager
def _silent() -> Iterator[None]:
    """Keep the library from logging what it raises as well."""
    from datasets.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity(logging.CRITICAL)
    try:
        yield
    finally:
        logging.set_verbosity(before)

"""Rows by name: the hub, local folders and files, and what ships with chg."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chg.errors import DataError

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
    """True of a built-in data set and of a path, false of a name on the hub."""
    path = Path(name)
    return (
        name.startswith((BUILTIN_PREFIX, ".", "/", "~"))
        or path.suffix in FILE_FORMATS
        or path.exists()
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
    if name.startswith(BUILTIN_PREFIX):
        return _builtin(name.removeprefix(BUILTIN_PREFIX), config, split)
    path = Path(name)
    if path.is_file():
        if path.suffix not in FILE_FORMATS:
            raise DataError(
                f"{name} has an ending that is not read; use one of {', '.join(FILE_FORMATS)}"
            )
        with _no_cache() as read:
            return _load(FILE_FORMATS[path.suffix], None, split, name, data_files=str(path), **read)
    if path.is_dir():
        with _no_cache() as read:
            return _load(name, config, split, name, **read)
    if is_local(name):
        raise DataError(f"data file {name} does not exist")
    return _load(name, config, split, name)


@contextmanager
def _no_cache() -> Iterator[dict[str, Any]]:
    """Read local files as they are now: the library's cache knows neither place nor content."""
    with tempfile.TemporaryDirectory() as folder:
        yield {"cache_dir": folder, "keep_in_memory": True}


def _builtin(name: str, config: str | None, split: str) -> Dataset:
    from datasets import Dataset

    from chg.builtin import builtin_rows

    base, _, slice_ = split.partition("[")
    rows = Dataset.from_list(builtin_rows(name, config, base))
    if not slice_:
        return rows
    return rows.select(_slice(slice_.rstrip("]"), len(rows), split))


def _slice(text: str, total: int, split: str) -> range:
    """`:100`, `5:10`, `:5%` as the datasets library means them."""

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
    where = f"dataset {shown!r}" + (f" ({config})" if config else "")
    try:
        return datasets.load_dataset(builder, config, split=split, **options)
    except DatasetNotFoundError as error:
        raise DataError(f"{where} was not found on the hub or in this folder") from error
    except (ConnectionError, datasets.exceptions.DatasetsError) as error:
        raise DataError(
            f"{where} could not be loaded: {_first_line(error)}. If the hub cannot be reached, use "
            "a local file or folder, or --dataset builtin:icl, which ships with chg"
        ) from error
    except ValueError as error:
        if "split" in str(error).lower():
            raise SplitNotFoundError(f"{where}: {_first_line(error)}") from error
        raise DataError(f"{where} could not be loaded: {_first_line(error)}") from error
    except OSError as error:
        raise DataError(f"{where} could not be read: {_first_line(error)}") from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]

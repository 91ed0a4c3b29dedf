"""Rows that are in memory: what takes the place of a data set's name in Python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from chg.config import DataConfig
from chg.errors import DataError

if TYPE_CHECKING:
    import pandas as pd
    from datasets import Dataset

AnyRows: TypeAlias = "str | DataConfig | Sequence[Mapping[str, Any]] | pd.DataFrame | Dataset"
"""A data set's name, with settings or without, or rows in memory."""
IN_MEMORY = "rows in memory"
"""Name of rows that were given none."""


def rows_and_settings(
    given: AnyRows, name: str | None, config: str | None, split: str, settings: Mapping[str, Any]
) -> tuple[Dataset | None, DataConfig]:
    """Take rows in memory apart from a data set's name, each with the settings to read them by.

    Args:
        given: rows in memory, or a data set's name.
        name: the name that rows in memory get.
        config: configuration of a data set, if it has several.
        split: its split.
        settings: further fields of `DataConfig`.

    Returns:
        The rows, or None where a name was given, and the settings.

    Raises:
        DataError: it is neither; or a name, a configuration or a split do not go with it.
    """
    if isinstance(given, str | DataConfig):
        if name is not None:
            raise DataError(f"name= is for rows in memory; {given!r} names itself")
        if isinstance(given, DataConfig):
            return None, given
        return None, DataConfig(
            dataset=given, dataset_config=config, dataset_split=split, **settings
        )
    if config is not None or split != "train":
        raise DataError("config= and split= are for a data set by name; choose among rows yourself")
    return _as_dataset(given), DataConfig(dataset=name or IN_MEMORY, **settings)


def _as_dataset(given: Any) -> Dataset:
    """Read rows in memory as files are read.

    Raises:
        DataError: they are of no kind that is read, or a column holds values of several kinds.
    """
    import pandas as pd
    from datasets import Dataset

    try:
        if isinstance(given, Dataset):
            return given
        if isinstance(given, pd.DataFrame):
            return Dataset.from_pandas(given, preserve_index=False)
        if isinstance(given, list | tuple) and all(isinstance(row, Mapping) for row in given):
            columns = dict.fromkeys(column for row in given for column in row)
            return Dataset.from_dict({one: [row.get(one) for row in given] for one in columns})
    except (TypeError, ValueError, NotImplementedError, OverflowError) as error:  # of pyarrow too
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise DataError(f"these rows are no table of text: {reason}") from error
    of = f" of {type(given[0]).__name__}" if isinstance(given, list | tuple) and given else ""
    raise DataError(
        "data are the name of a data set or a file, a list of dicts, a pandas DataFrame or a "
        f"datasets.Dataset; got {type(given).__name__}{of}. Pairs of strings go through "
        "chg.tokenize_pairs, strings through chg.tokenize_texts"
    )

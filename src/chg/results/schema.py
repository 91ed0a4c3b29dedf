"""Records read back from files: content that fits a dataclass, or a line that names the field.

A file's schema is the dataclass that its content becomes. `read_record` goes through the types of
the fields: plain values, `Literal`, `X | None`, tuples, mappings from text, numpy arrays, other
dataclasses, and `Annotated[int, range(...)]`.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np

from chg.errors import ChgError, ResultsError

Record = TypeVar("Record")

NULL_IS_NAN = object()
Place = Annotated[int, range(4096)]
"""Layer or head: no model has more of either, and matrices are made of as many."""
Count = Annotated[int, range(2**53)]
"""Number of things."""
Figure = Annotated[float, NULL_IS_NAN]
"""Number that may be NaN, which is null in JSON."""

DEEPEST = 32
"""Levels of lists and objects in content that is kept as it is."""
LARGEST = 1e30
"""Figures beyond this are damage, and overflow in what is made of them."""

_NAMES = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


class WrongField(ValueError):
    """Content that does not fit, with the place of it."""


def read_record(kind: type[Record], content: object, file: Path, phrase: str) -> Record:
    """Make a dataclass of a file's content.

    Args:
        kind: the dataclass.
        content: what JSON held.
        file: the file, and
        phrase: what it should be, for the message.

    Raises:
        ResultsError: the content does not fit; the message names file and field.
    """
    try:
        return _record(kind, content, "")
    except WrongField as error:
        raise ResultsError(f"{file} is not {phrase}: {error}") from error


def open_ended(kind: type[Record]) -> type[Record]:
    """Let the content of a dataclass have fields that it does not know; a decorator."""
    _open_ended.add(kind)
    return kind


_open_ended: set[type] = set()


def _record(kind: type[Record], content: object, place: str) -> Record:
    if not isinstance(content, Mapping):
        raise WrongField(f"{place or 'it'} is {_found(content)}, not an object")
    prefix = f"{place}." if place else ""
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    unknown = [name for name in content if name not in fields]
    if unknown and kind not in _open_ended:
        raise WrongField(f"{prefix}{unknown[0]} is no field of it")
    values = {}
    for name, hint in _hints(kind).items():  # type: ignore[arg-type]
        if name in content:
            values[name] = _value(hint, content[name], prefix + name)
        elif name in fields and _is_required(fields[name]):
            raise WrongField(f"{prefix}{name} is missing")
    try:
        return kind(**values)
    except ChgError as error:  # settings that contradict each other
        raise WrongField(f"{place or 'it'} cannot be: {error}") from error


@functools.lru_cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind, include_extras=True)


def _is_required(field: dataclasses.Field[Any]) -> bool:
    return field.default is field.default_factory is dataclasses.MISSING


def _value(hint: Any, value: Any, place: str) -> Any:
    """Read a value of a type, which may be made of others."""
    origin, parts = get_origin(hint), get_args(hint)
    if hint is Any:
        return _plain(value, place)
    if dataclasses.is_dataclass(hint):
        return _record(hint, value, place)  # type: ignore[arg-type]
    if origin is Annotated:
        if NULL_IS_NAN in parts and (value is None or _is_nan(value)):
            return math.nan
        inner = _value(parts[0], value, place)
        if any(isinstance(part, range) and inner not in part for part in parts):
            raise WrongField(f"{place} is {value}, which is out of range")
        return inner
    if origin in (Union, types.UnionType):
        (other,) = (part for part in parts if part is not types.NoneType)
        return None if value is None else _value(other, value, place)
    if origin is Literal:
        if not isinstance(value, str) or value not in parts:
            raise WrongField(f"{place} is {_found(value)}, not one of {', '.join(parts)}")
        return value
    if origin is tuple:
        return _tuple(parts, value, place)
    if origin is np.ndarray:
        return _array(np.dtype(get_args(parts[1])[0]), value, place)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        if not isinstance(value, Mapping):
            raise WrongField(f"{place} is {_found(value)}, not an object")
        return {name: _value(parts[1], item, f"{place}.{name}") for name, item in value.items()}
    return _scalar(hint, value, place)


def _tuple(parts: tuple[Any, ...], value: Any, place: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise WrongField(f"{place} is {_found(value)}, not a list")
    hints = parts[:1] * len(value) if parts[1:] == (...,) else parts
    if len(value) != len(hints):
        raise WrongField(f"{place} has {len(value)} entries, not {len(hints)}")
    return tuple(
        _value(hint, item, f"{place}[{i}]")
        for i, (hint, item) in enumerate(zip(hints, value, strict=True))
    )


def _array(dtype: np.dtype[Any], value: Any, place: str) -> np.ndarray:
    """Read an array of numbers; in one of floats, null is NaN."""
    if not isinstance(value, list):
        raise WrongField(f"{place} is {_found(value)}, not a list")
    _plain(value, place)
    entries = np.array(value, dtype=object)  # with lists in it where rows have two sizes
    kind: Any = int if dtype.kind == "i" else Figure
    for i, entry in enumerate(entries.flat):
        _value(kind, entry, f"{place}, entry {i},")
    return entries.astype(dtype)


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _scalar(hint: Any, value: Any, place: str) -> Any:
    fits = isinstance(value, hint) and (hint is bool or not isinstance(value, bool))
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        fits = True
    if not fits:
        raise WrongField(f"{place} is {_found(value)}, not {_NAMES[hint]}")
    if hint is str:
        return _text(value, place)
    if hint in (int, float) and not abs(value) <= (LARGEST if hint is float else 2**53):
        raise WrongField(f"{place} is {_found(value)}, which is out of range")
    return float(value) if hint is float else value


def _plain(value: Any, place: str, depth: int = 0) -> Any:
    """See that content kept as it is can be shown and written again."""
    if depth > DEEPEST:
        raise WrongField(f"{place[:40]} is more than {DEEPEST} levels deep")
    if isinstance(value, str):
        return _text(value, place)
    if isinstance(value, Mapping):
        for name, item in value.items():
            _plain(item, f"{place}.{_text(name, place)}", depth + 1)
    elif isinstance(value, list):
        for i, item in enumerate(value):
            _plain(item, f"{place}[{i}]", depth + 1)
    elif value is not None and not isinstance(value, bool):
        _scalar(type(value), value, place)
    return value


def _text(value: str, place: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise WrongField(f"{place} holds half a character") from error
    return value


def _found(value: Any) -> str:
    """A value in the words of a message."""
    if value is None:
        return "nothing"
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 64:
        return "a huge number"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return repr(value)

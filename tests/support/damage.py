"""Files of results, damaged: every field missing once, and once of every wrong kind."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from chg.errors import ResultsError

DEEP: Any = []
for _ in range(200):
    DEEP = [DEEP]
WRONG: tuple[Any, ...] = (
    *(None, True, "text", "\ud800", ["text"], {"a": [None]}, DEEP),
    *(-1, 0.5, 10**9, 10**400, 1e308, float("nan")),
)


def damaged(content: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the content with one thing wrong, and where; of lists only the first entry."""
    for path in _places(content):
        for wrong in (*WRONG, KeyError):
            other = copy.deepcopy(content)
            parent: Any = other
            for step in path[:-1]:
                parent = parent[step]
            if wrong is KeyError:
                del parent[path[-1]]
            else:
                parent[path[-1]] = wrong
            yield f"{path} = {str(wrong)[:20]}", other


def _places(content: Any) -> Iterator[tuple[Any, ...]]:
    entries = list(content.items()) if isinstance(content, dict) else list(enumerate(content))[:1]
    for key, value in entries:
        yield (key,)
        if isinstance(value, dict | list):
            for rest in _places(value):
                yield (key, *rest)


def require_a_line(
    file: Path, content: dict[str, Any], read: Callable[[], Any], use: Callable[[Any], None]
) -> int:
    """See that every damage is named in a line, or does no harm; return how many were named."""
    refused = 0
    for where, wrong in damaged(content):
        try:
            with pytest.MonkeyPatch.context() as patched:  # a thousand files would take a while
                text = json.dumps(wrong)
                patched.setattr(Path, "read_text", lambda *_, text=text, **__: text)
                use(read())
        except ResultsError as error:
            message = str(error)
            assert file.name in message or str(file.parent) in message, where
            assert "\n" not in message, where
            refused += 1
        except Exception as error:
            raise AssertionError(where) from error
    return refused

"""Compiled code rests while a model has hooks: torch.compile does not look for new ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch

from chg.errors import ArchitectureError

_resting = ExitStack()
_users = 0


@contextmanager
def uncompiled() -> Iterator[None]:
    """Run whatever was compiled as plain Python, until the last of these contexts is left.

    They may be left in any order. What was compiled before is used again afterwards, and nothing is
    compiled inside, so no graph ever holds a hook.

    Raises:
        ArchitectureError: compiled code is running already.
    """
    global _users
    if _users == 0:
        try:
            if torch.compiler.is_compiling():
                raise RuntimeError  # as the next line does in code that was not traced
            _resting.enter_context(torch.compiler.set_stance("force_eager"))
        except RuntimeError as error:
            raise ArchitectureError(
                "gates cannot be attached inside a compiled function; call it under gates instead"
            ) from error
    _users += 1
    try:
        yield
    finally:
        _users -= 1
        if _users == 0:
            _resting.close()

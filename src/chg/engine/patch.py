"""Forwards in place of modules' own, for a while."""

from __future__ import annotations

import copy
from collections.abc import Callable
from types import MethodType
from typing import Any

from torch import nn


class Patch:
    """A forward in place of a module's own; a copy of the module gets its own back."""

    def __init__(self, module: nn.Module, forward: Callable[..., Any]) -> None:
        self._module, self._forward = module, forward
        self._before = module.__dict__.get("forward")
        # Not as an attribute: modules of a TransformerBridge pass attributes on.
        module.__dict__["forward"] = self

    def undo(self) -> None:
        """Give the module its own forward back."""
        if self._before is None:
            del self._module.__dict__["forward"]
        else:
            self._module.__dict__["forward"] = self._before

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._forward(*args, **kwargs)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        if self._before is not None:
            return copy.deepcopy(self._before, memo)
        copied = memo[id(self._module)]
        return MethodType(type(copied).forward, copied)

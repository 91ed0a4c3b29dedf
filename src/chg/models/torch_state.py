"""State of torch that figures must not depend on, and that users get back as it was.

1. Jobs run in float32 by default, on the CPU by default, without autocast, and with gradients
   possible, whatever the caller has set (`plain_torch`).
2. A model is worked with by one thread at a time: its hooks, forwards and flags are its own
   (`in_one_thread`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from weakref import WeakKeyDictionary

import torch
from torch import nn

from chg.errors import ModelError

AUTOCAST_DEVICES = ("cpu", "cuda", "mps", "xpu")

_here = threading.local()
"""Of this thread: `plain` inside `plain_torch`, `weightless` inside `without_weights`."""
_lock = threading.RLock()
_workers: WeakKeyDictionary[nn.Module, list[threading.Thread]] = WeakKeyDictionary()
"""Models that are worked with, and the thread that does so, once for each context."""


class OfTheProcess:
    """A setting of the whole process: made by its first user, taken back after its last."""

    def __init__(self, make: Callable[[], AbstractContextManager[None]]) -> None:
        self._make = make
        self._made = ExitStack()
        self._users = 0

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Have the setting; contexts may be left in any order, and in any thread."""
        with _lock:
            if not self._users:
                self._made.enter_context(self._make())
            self._users += 1
        try:
            yield
        finally:
            with _lock:
                self._users -= 1
                if not self._users:
                    self._made.close()


@contextmanager
def _in_float32() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


_float32 = OfTheProcess(_in_float32)


@contextmanager
def plain_torch() -> Iterator[None]:
    """Set aside what the caller has set in torch, and its random state; a context or a decorator.

    Nothing happens inside another one, so that jobs may set what they need.
    """
    if getattr(_here, "plain", False):
        yield
        return
    accelerators = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with ExitStack() as stack:
        _here.plain = True
        stack.callback(setattr, _here, "plain", False)
        stack.enter_context(_float32.entered())
        stack.enter_context(torch.random.fork_rng(accelerators))
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        for kind in filter(torch.is_autocast_enabled, AUTOCAST_DEVICES):
            stack.enter_context(torch.autocast(kind, enabled=False))
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        yield


@contextmanager
def in_one_thread(model: nn.Module) -> Iterator[None]:
    """Keep a model for this thread; contexts nest, and may be left in any order.

    Raises:
        ModelError: another thread works with it.
    """
    thread = threading.current_thread()
    with _lock:
        workers = [other for other in _workers.get(model, []) if other.is_alive()]
        if any(other is not thread for other in workers):
            raise ModelError(
                f"another thread works with this {type(model).__name__}; wait until it is done, or "
                "give each thread a model of its own (copy.deepcopy)"
            )
        _workers[model] = [*workers, thread]
    try:
        yield
    finally:
        with _lock, suppress(ValueError):  # not there where the thread died meanwhile
            _workers[model].remove(thread)


@contextmanager
def without_weights() -> Iterator[None]:
    """Let models without weights run, for the sake of their shapes."""
    _here.weightless = True
    try:
        yield
    finally:
        _here.weightless = False


def runs_without_weights() -> bool:
    """Tell whether models without weights may run here."""
    return getattr(_here, "weightless", False)

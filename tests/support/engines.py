"""Engines that run whole passes, to compare those of parts with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from torch import nn

from chg.engine import Engine, open_engine
from chg.gating import Reference


@contextmanager
def open_plain_engine(model: nn.Module, reference: Reference | None = None) -> Iterator[Engine]:
    """Open a model for passes of the whole, one row of the batch per gate matrix."""
    with open_engine(model, reference=reference) as engine:
        yield replace(engine, forward=None)

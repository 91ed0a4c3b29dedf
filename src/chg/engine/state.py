"""State of passes that start inside a model: what they leave behind, and what they return."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from chg.gating import at_scored_positions, repeat_for_rows


@dataclass
class State:
    """What a pass leaves behind at one layer for others to start from."""

    hidden: Tensor
    """`[row, pos, ...]`: the residual stream entering the layer."""
    heads: Tensor | None = None
    """`[row, pos, width]`: the input of its output projection, before gates."""

    def rows(self, start: int, count: int) -> State:
        """Some neighbouring rows of it."""
        own = slice(start, start + count)
        return State(self.hidden[own], None if self.heads is None else self.heads[own])

    @staticmethod
    def join(states: list[State]) -> State:
        """The rows of all."""
        heads = [state.heads for state in states if state.heads is not None]
        return State(
            torch.cat([state.hidden for state in states]), torch.cat(heads) if heads else None
        )


@dataclass
class Pass:
    """One pass under way."""

    gates: Float[Tensor, "row layer head"]
    start: int
    entering: State | None
    cut: int
    """The last layer that sees all positions."""
    scored: Int[Tensor, "scored"]
    """Positions that are carried on above, counted through all rows."""
    keep: Mapping[int, Tensor]
    """Layer -> rows whose state is kept there."""
    reference: Mapping[int, Tensor] | None
    length: int
    """Positions of a row."""
    kept: dict[int, State] = field(default_factory=dict)
    given: Tensor | None = None
    """Heads that the next attention returns projected, in place of its own."""
    stop_at: int | None = None
    """Layer at whose projection to stop."""

    def reference_of(self, layer: int, *, scored: bool = False) -> Tensor | None:
        """What closed gates are filled up with, in all rows or at scored positions as rows."""
        if self.reference is None:
            return None
        value = self.reference[layer]
        if scored:
            return at_scored_positions(value, self.scored, self.length)
        return repeat_for_rows(value, len(self.gates))  # copies, for the layer at hand alone


class Reached(Exception):
    """Leaves a forward pass where all that was wanted of it is there."""

    def __init__(self, value: Tensor) -> None:
        self.value = value


@dataclass(frozen=True)
class Outputs:
    """How a model's layers and attentions return what they return."""

    layers: Mapping[int, int | None]
    """Layers that are run over text -> length of the tuple whose first element is the residual
    stream, None where it comes bare."""
    attentions: Mapping[int, int | None]
    """The same for attentions, by layer."""

    def layer(self, i: int, hidden: Tensor) -> Any:
        """What layer `i` would return with this residual stream."""
        return _wrapped(self.layers[i], hidden)

    def attention(self, layer: int, value: Tensor) -> Any:
        """What the attention of a layer would return with this output."""
        return _wrapped(self.attentions[layer], value)


def _wrapped(length: int | None, value: Tensor) -> Any:
    return value if length is None else (value, *[None] * (length - 1))


def first_output(output: Any) -> Tensor:
    first: Tensor = output[0] if isinstance(output, tuple) else output
    return first


def at_positions(value: Tensor, scored: Tensor) -> Tensor:
    """Some positions of `[row, pos, ...]` as rows of one position each."""
    return value.flatten(0, 1)[scored][:, None]

"""State of passes that start inside a model: orders, what passes leave behind, and return forms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from chg.gating import at_scored_positions, repeat_for_rows
from chg.models import SiteKey


@dataclass
class State:
    """Values that a pass leaves behind at one layer, for other passes to start from."""

    hidden: Tensor
    """`[row, pos, ...]`: the residual stream entering the layer."""
    heads: Tensor | None = None
    """`[row, pos, width]`: the input of its output projection, before gates."""

    def rows(self, start: int, count: int) -> State:
        """Select neighboring rows."""
        chosen = slice(start, start + count)
        return State(self.hidden[chosen], None if self.heads is None else self.heads[chosen])

    @staticmethod
    def join(states: list[State]) -> State:
        """Put the rows of several states together."""
        heads = [state.heads for state in states if state.heads is not None]
        return State(
            torch.cat([state.hidden for state in states]), torch.cat(heads) if heads else None
        )


@dataclass(frozen=True)
class PassOrder:
    """Order for one pass over rows, each under a gate matrix of its own."""

    inputs: Mapping[str, Tensor]
    """`input_ids` and `attention_mask`, and any other input of the model."""
    gates: Float[Tensor, "row layer column"]
    """One per head, and with a column more also one per MLP block."""
    scored: Int[Tensor, "scored"]
    """Positions to carry on to the end, `row * length + pos`."""
    start: int = 0
    """Layer to start in, with `entering`."""
    entering: State | None = None
    cut: int | None = None
    """Last layer that sees all positions; the last of all if not given."""
    keep: Mapping[int, Tensor] = field(default_factory=dict)
    """Layer, at or below `cut` -> rows whose state is returned."""
    reference: Mapping[SiteKey, Tensor] | None = None
    """Layer, or path of an MLP -> values that closed gates are filled up with, `[1 or row, 1 or
    pos, width]`, of the first rows where the others are copies of them."""

    @property
    def length(self) -> int:
        """Positions of a row."""
        return int(self.inputs["input_ids"].shape[1])


@dataclass
class RunningPass:
    """A pass under way."""

    order: PassOrder
    cut: int
    kept: dict[int, State] = field(default_factory=dict)
    given: Tensor | None = None
    """Heads that the next attention returns projected, in place of its own."""
    stop_at: int | None = None
    """Layer at whose projection to stop."""

    def reference_of(self, key: SiteKey, *, scored: bool = False) -> Tensor | None:
        """Values that closed gates are filled up with, of all rows or of scored positions."""
        order = self.order
        if order.reference is None:
            return None
        value = order.reference[key]
        if scored:
            return at_scored_positions(value, order.scored, order.length)
        return repeat_for_rows(value, len(order.gates))  # copies, for the layer at hand alone


class Reached(Exception):
    """Signal that ends a forward pass as soon as the value it was run for is there."""

    def __init__(self, value: Tensor) -> None:
        self.value = value


@dataclass(frozen=True)
class Outputs:
    """Forms in which a model's layers and attentions return their values."""

    layers: Mapping[int, int | None]
    """Layers that are run over text -> length of the tuple whose first element is the residual
    stream, None where it comes bare."""
    attentions: Mapping[int, int | None]
    """The same for attentions, by layer."""

    def layer(self, i: int, hidden: Tensor) -> Any:
        """Wrap a residual stream as layer `i` returns it."""
        return _wrapped(self.layers[i], hidden)

    def attention(self, layer: int, value: Tensor) -> Any:
        """Wrap an output as the attention of a layer returns it."""
        return _wrapped(self.attentions[layer], value)


def _wrapped(length: int | None, value: Tensor) -> Any:
    return value if length is None else (value, *[None] * (length - 1))


def at_positions(value: Tensor, scored: Tensor) -> Tensor:
    """Select positions of `[row, pos, ...]` as rows of one position each."""
    return value.flatten(0, 1)[scored][:, None]

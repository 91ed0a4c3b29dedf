"""Scoring a batch under a list of gate matrices, everything that they share computed once.

1. `grow` arranges the matrices as a tree (`branches.py`).
2. Branches that start in the same layer run together, as many as fill a slab of tokens, the highest
   layer that fills one first, so that few states wait (`_Waiting`).
3. Each pass starts inside the layer in which its branches leave their parents, and carries only
   scored positions above the last open head (`partial_forward.py`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from chg.data import Batch
from chg.engine.log_probs import TargetScores, score_hidden
from chg.engine.partial_forward import PartialForward
from chg.engine.prefix_tree import Node
from chg.engine.state import State


@torch.no_grad()
def score_tree(
    forward: PartialForward,
    root: Node,
    gates: Float[Tensor, "matrix layer head"],
    batch: Batch,
    slab: int,
    *,
    controls: bool = False,
    reference: Mapping[int, Tensor] | None = None,
) -> Iterator[tuple[list[int], TargetScores]]:
    """Score a batch under every gate matrix.

    Args:
        forward: the model.
        root: the tree of the matrices.
        gates: on the device of the model's input.
        batch: rows, on that device.
        slab: tokens per pass, about.
        controls: compute each branch's parent once more in the same slab, and score the branch by
            its difference, so that rounding that depends on a slab's shape cancels.
        reference: layer -> what closed gates are filled up with, for this batch (`Reference.of`).

    Yields:
        Matrices that ran together, and their scores, in rows `matrix-of-these * len(batch) + row`.
    """
    rows, length = batch.input_ids.shape
    waiting = _Waiting(forward, gates, rows, max(1, slab // (rows * length)))
    waiting.add(root, None, None, 0)
    against = _Controls(batch) if controls else None
    while waiting:
        (start, cut), members = waiting.take()
        ran = [*members, *against.of(members)] if against else members
        matrices = [member.branch.matrix for member in ran]
        of_rows = gates[matrices].repeat_interleave(rows, dim=0)
        many = batch.repeat(len(ran))
        keep = {
            fork: [i for i, member in enumerate(members) if fork in member.branch.forks]
            for fork in sorted({fork for member in members for fork in member.branch.forks})
        }
        leaving, kept = forward.run(
            many.inputs,
            of_rows,
            many.scored,
            start=start,
            entering=waiting.state_of(ran),
            cut=cut,
            keep={fork: _rows_of(held, rows, of_rows.device) for fork, held in keep.items()},
            reference=reference,
        )
        for fork, held in keep.items():
            for place, i in enumerate(held):
                for child in members[i].branch.children:
                    if child.start == fork:
                        waiting.add(child, members[i].branch, kept[fork], place)
        del kept
        scores = score_hidden(forward.head, leaving, many)
        if against:
            scores = against.correct(members, scores)
        yield matrices[: len(members)], scores


def _rows_of(members: Sequence[int], rows: int, device: torch.device) -> Tensor:
    """Rows of members of a slab, each of which has `rows` neighbouring ones."""
    first = torch.tensor(members, device=device)[:, None] * rows
    return (first + torch.arange(rows, device=device)).flatten()


@dataclass(frozen=True)
class _Member:
    """A branch that can run, and where its state is; the root has none."""

    branch: Node
    parent: Node | None
    state: State | None
    place: int


class _Waiting:
    """Branches whose parents have run."""

    def __init__(self, forward: PartialForward, gates: Tensor, rows: int, size: int) -> None:
        self._forward = forward
        self._rows = rows
        self._open = (gates != 0).any(-1).cpu()
        self._size = size
        self._at: dict[tuple[int, int], list[_Member]] = defaultdict(list)

    def __bool__(self) -> bool:
        return bool(self._at)

    def add(self, branch: Node, parent: Node | None, state: State | None, place: int) -> None:
        opened = self._open[branch.matrix].nonzero().flatten().tolist()
        cut = self._forward.cut_for([*opened, *branch.forks])
        self._at[branch.start, cut].append(_Member(branch, parent, state, place))

    def take(self) -> tuple[tuple[int, int], list[_Member]]:
        """The next slab, with its start and cut: from the highest layer that fills one, otherwise
        from the lowest."""
        full = [key for key, members in self._at.items() if len(members) >= self._size]
        key = max(full) if full else min(self._at)
        taken, rest = self._at[key][: self._size], self._at[key][self._size :]
        if rest:
            self._at[key] = rest
        else:
            del self._at[key]
        return key, taken

    def state_of(self, members: Sequence[_Member]) -> State | None:
        """The states that the members of a slab start from, one after another."""
        states = [
            member.state.rows(member.place * self._rows, self._rows)
            for member in members
            if member.state is not None
        ]
        return State.join(states) if states else None


class _Controls:
    """Parents computed once more beside their branches, and the branches' scores against them."""

    def __init__(self, batch: Batch) -> None:
        self._targets = len(batch.tokens)
        self._sequences = len(batch)
        self._final: dict[int, Tensor] = {}

    def of(self, members: Sequence[_Member]) -> list[_Member]:
        """One control per parent, starting where its branches do."""
        return [
            _Member(Node(parent.matrix, member.branch.start), None, member.state, member.place)
            for parent, member in {m.parent: m for m in members}.items()
            if parent is not None
        ]

    def correct(self, members: Sequence[_Member], scores: TargetScores) -> TargetScores:
        """The members' scores, each by its difference from its control."""
        logprobs = scores.logprobs.view(-1, self._targets)
        controls = iter(logprobs[len(members) :])
        control_of = {m.parent: None for m in members if m.parent is not None}
        found = {parent: next(controls) for parent in control_of}
        corrected = []
        for member, own in zip(members, logprobs, strict=False):
            parent = member.parent
            value = own if parent is None else own - found[parent] + self._final[parent.matrix]
            corrected.append(value)
            if member.branch.children:
                self._final[member.branch.matrix] = value
        own_part = slice(len(members) * self._targets)
        return TargetScores(
            torch.cat(corrected),
            scores.correct[own_part],
            scores.sequences[own_part],
            len(members) * self._sequences,
        )

"""Scores of a batch under a list of gate matrices, everything that they share computed once.

1. `build_tree` arranges the matrices as a tree (`prefix_tree.py`).
2. Nodes that start in the same layer run together, as many as fill a pass of tokens, the highest
   layer that fills one first, so that few states wait (`_Waiting`).
3. Each pass starts inside the layer in which its nodes leave their parents, and carries only
   scored positions above the last open head (`partial_forward.py`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from chg.config import Metric
from chg.data import Batch
from chg.engine.partial_forward import PartialForward
from chg.engine.prefix_tree import Node, build_tree
from chg.engine.state import PassOrder, State
from chg.engine.target_scores import TargetScores, score_hidden
from chg.engine.targets import Targets
from chg.models import SiteKey


class TreeScorer:
    """Gate matrices arranged once, to score any number of batches under.

    Args:
        forward: the model.
        gates: on the device of the model's input; no two matrices equal.
        tokens: tokens per pass, about.
        controls: compute each node's parent once more in the same pass, and score the node by its
            difference, so that rounding that depends on a pass's shape cancels.
    """

    def __init__(
        self,
        forward: PartialForward,
        gates: Float[Tensor, "matrix layer head"],
        tokens: int,
        *,
        controls: bool = False,
    ) -> None:
        self._forward = forward
        self._gates = gates
        self._tokens = tokens
        self._controls = controls
        self._root = build_tree(list(gates))

    @torch.no_grad()
    def score(
        self,
        batch: Batch,
        reference: Mapping[SiteKey, Tensor] | None = None,
        targets: Targets | None = None,
    ) -> Iterator[tuple[list[int], TargetScores]]:
        """Score a batch under every gate matrix.

        Args:
            batch: rows, on the device of the gates.
            reference: place -> values that closed gates are filled up with, for this batch
                (`Reference.of`).
            targets: what is measured; the log-probability of the batch's targets if not given.

        Yields:
            Matrices that ran together, with scores in rows `matrix-of-these * len(batch) + row`.
        """
        rows, length = batch.input_ids.shape
        targets = targets or Targets.of(batch)
        size = max(1, self._tokens // (rows * length))
        waiting = _Waiting(self._forward, self._gates, rows, size, controls=self._controls)
        waiting.add(self._root, None, None, 0)
        against = _Controls(batch, targets.metric) if self._controls else None
        while waiting:
            (start, cut), members = waiting.take()
            ran = [*members, *against.of(members)] if against else members
            many = batch.repeat(len(ran))
            keep = _rows_to_keep(members, rows, self._gates.device)
            order = PassOrder(
                many.inputs, self._gates_of(ran, rows), many.scored, start=start, cut=cut, keep=keep
            )
            order = replace(order, entering=waiting.state_of(ran), reference=reference)
            hidden, kept = self._forward.run(order)
            waiting.add_children(members, kept)
            del kept, order  # states that no one waits for
            scores = score_hidden(self._forward.head, hidden, many, targets.repeat(len(ran)))
            yield (
                [member.node.matrix for member in members],
                against.correct(members, scores) if against else scores,
            )

    def _gates_of(
        self, members: Sequence[_Member], rows: int
    ) -> Float[Tensor, "row_of_matrix layer head"]:
        matrices = [member.node.matrix for member in members]
        return self._gates[matrices].repeat_interleave(rows, dim=0)


@dataclass(frozen=True)
class _Member:
    """A node that can run, and the place of its state; the root has none."""

    node: Node
    parent: Node | None
    state: State | None
    place: int


def _forking_at(members: Sequence[_Member]) -> dict[int, list[int]]:
    """Layer -> places of the members whose path others leave there."""
    forks = sorted({fork for member in members for fork in member.node.forks})
    return {
        fork: [i for i, member in enumerate(members) if fork in member.node.forks] for fork in forks
    }


def _rows_to_keep(members: Sequence[_Member], rows: int, device: torch.device) -> dict[int, Tensor]:
    """Layer -> rows of the members whose state is wanted there; `rows` neighbors each."""
    each = torch.arange(rows, device=device)
    return {
        fork: (torch.tensor(places, device=device)[:, None] * rows + each).flatten()
        for fork, places in _forking_at(members).items()
    }


class _Waiting:
    """Nodes whose parents have run."""

    def __init__(
        self, forward: PartialForward, gates: Tensor, rows: int, size: int, *, controls: bool
    ) -> None:
        self._forward = forward
        self._rows = rows
        heads = forward.sites.shape[1]  # an MLP, open or not, sees each position by itself
        self._open = (gates[..., :heads] != 0).any(-1).cpu()
        self._size = size
        self._controls = controls
        self._at: dict[tuple[int, int], list[_Member]] = defaultdict(list)

    def __bool__(self) -> bool:
        return bool(self._at)

    def add(self, node: Node, parent: Node | None, state: State | None, place: int) -> None:
        """Add a node that starts from the rows at `place` of its parent's state."""
        opened = self._open[node.matrix]
        if self._controls and parent is not None:  # the parent runs in the same pass once more
            opened = opened | self._open[parent.matrix]
        cut = self._forward.cut_for([*opened.nonzero().flatten().tolist(), *node.forks])
        self._at[node.start, cut].append(_Member(node, parent, state, place))

    def add_children(self, members: Sequence[_Member], kept: Mapping[int, State]) -> None:
        """Add the children of members that ran, with the states that were kept for them."""
        for fork, places in _forking_at(members).items():
            for place, i in enumerate(places):
                for child in members[i].node.children:
                    if child.start == fork:
                        self.add(child, members[i].node, kept[fork], place)

    def take(self) -> tuple[tuple[int, int], list[_Member]]:
        """Take the next pass, with its start and cut: from the highest layer that fills one,
        otherwise from the lowest."""
        full = [key for key, members in self._at.items() if len(members) >= self._size]
        key = max(full) if full else min(self._at)
        taken, rest = self._at[key][: self._size], self._at[key][self._size :]
        if rest:
            self._at[key] = rest
        else:
            del self._at[key]
        return key, taken

    def state_of(self, members: Sequence[_Member]) -> State | None:
        """Join the states that the members of a pass start from."""
        states = [
            member.state.rows(member.place * self._rows, self._rows)
            for member in members
            if member.state is not None
        ]
        return State.join(states) if states else None


class _Controls:
    """Parents computed once more beside their children, and the children's scores against them."""

    def __init__(self, batch: Batch, metric: Metric) -> None:
        self._is_logprob = metric == "logprob"
        self._targets = len(batch.tokens)
        self._sequences = len(batch)
        self._final: dict[int, Tensor] = {}

    def of(self, members: Sequence[_Member]) -> list[_Member]:
        """Make one control per parent, starting where its children do."""
        return [
            _Member(Node(parent.matrix, member.node.start), None, member.state, member.place)
            for parent, member in {m.parent: m for m in members}.items()
            if parent is not None
        ]

    def correct(self, members: Sequence[_Member], scores: TargetScores) -> TargetScores:
        """Correct the members' scores, each by its difference from its control."""
        values = scores.values.view(-1, self._targets)
        controls = iter(values[len(members) :])
        parents = {m.parent: None for m in members if m.parent is not None}
        control_of = {parent: next(controls) for parent in parents}
        corrected = []
        for member, measured in zip(members, values, strict=False):
            parent, value = member.parent, measured
            if parent is not None:
                value = measured - control_of[parent] + self._final[parent.matrix]
            corrected.append(value)
            if member.node.children:
                self._final[member.node.matrix] = value
        of_members = slice(len(members) * self._targets)
        better = torch.cat(corrected)
        return TargetScores(
            better,
            better if self._is_logprob else scores.logprobs[of_members],
            scores.correct[of_members],
            scores.sequences[of_members],
            len(members) * self._sequences,
        )

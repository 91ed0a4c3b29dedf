"""Scoring a batch under a list of gate matrices, everything that they share computed once.

1. `grow` arranges the matrices as a tree (`branches.py`).
2. Branches that start in the same layer run together, as many as fill a slab of tokens, the highest
   layer that fills one first, so that few states wait (`_Waiting`).
3. Each pass starts inside the layer in which its branches leave their parents, and carries only
   scored positions above the last open head (`partial_forward.py`).

How far a model allows that is found out once per model, by comparing with plain passes (`Ability`).
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from chg.architectures import HeadSites, find_head_sites, text_config
from chg.branches import Branch, grow
from chg.config import Recompute
from chg.data.batches import LONGEST_PACK, Batch, collate, collate_shared
from chg.data.tokens import TokenRow
from chg.eager import uncompiled
from chg.errors import ConfigError
from chg.gate_wrapper import AttachedGates, frozen
from chg.objectives import TargetScores, score_leaving, target_scores
from chg.partial_forward import Outputs, PartialForward, State

logger = logging.getLogger(__name__)

Mode = Literal["inside", "layers", "whole"]
"""Where passes can start: inside a layer, at the beginning of one, or of the model alone."""

SLAB = 2048
"""Tokens per pass on a CPU; 512 to 8192 are within a tenth of each other."""
SLAB_ON_ACCELERATOR = 32_768


def slab_size(device: torch.device) -> int:
    """Tokens per pass, about."""
    return SLAB if device.type == "cpu" else SLAB_ON_ACCELERATOR


@dataclass(frozen=True)
class Ability:
    """How a model can be run."""

    mode: Mode
    outputs: Outputs | None = None
    shareable: int = 0
    """Length up to which rows may share a common beginning (`collate_shared`)."""


_abilities: WeakKeyDictionary[nn.Module, tuple[list[Any], Ability]] = WeakKeyDictionary()


def ability(model: nn.Module) -> Ability:
    """How a model can be run; found out once, and remembered as long as its modules stay."""
    sites = find_head_sites(model)
    attention = getattr(text_config(model), "_attn_implementation", None)
    identities = [attention, *(id(site.projection) for site in sites)]
    known = _abilities.get(model)
    if known is None or known[0] != identities:
        with torch.no_grad(), frozen(model):
            known = (identities, _find_out(model, sites))
        _abilities[model] = known
    return known[1]


@contextmanager
def partial_forward(
    model: nn.Module, recompute: Recompute = "none"
) -> Iterator[PartialForward | None]:
    """The model ready for passes of parts, or None where it takes plain passes alone.

    Raises:
        ConfigError: `recompute` cannot be done in this model.
    """
    with uncompiled():
        can = ability(model)
        if can.outputs is None:
            if recompute != "none":
                raise ConfigError(
                    f"{type(model).__name__} runs only as a whole: --recompute does not apply to it"
                )
            yield None
            return
        inside = can.mode == "inside"
        sites = find_head_sites(model)
        with PartialForward(
            model, sites, can.outputs, inside=inside, recompute=recompute
        ) as forward:
            yield forward


@torch.no_grad()
def score_tree(
    forward: PartialForward,
    root: Branch,
    gates: Float[Tensor, "matrix layer head"],
    batch: Batch,
    slab: int,
    *,
    controls: bool = False,
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

    Yields:
        Matrices that ran together, and their scores, in rows `matrix-of-these * len(batch) + row`.
    """
    rows, length = batch.input_ids.shape
    waiting = _Waiting(forward, gates, rows, max(1, slab // (rows * length)))
    waiting.add(root, None, None, 0)
    against = _Controls(len(batch.tokens)) if controls else None
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
        )
        for fork, held in keep.items():
            for place, i in enumerate(held):
                for child in members[i].branch.children:
                    if child.start == fork:
                        waiting.add(child, members[i].branch, kept[fork], place)
        del kept
        scores = score_leaving(forward.head, leaving, many)
        if against:
            scores = against.correct(members, scores, batch.repeat(len(members)))
        yield matrices[: len(members)], scores


def _rows_of(members: Sequence[int], rows: int, device: torch.device) -> Tensor:
    """Rows of members of a slab, each of which has `rows` neighbouring ones."""
    first = torch.tensor(members, device=device)[:, None] * rows
    return (first + torch.arange(rows, device=device)).flatten()


@dataclass(frozen=True)
class _Member:
    """A branch that can run, and where its state is; the root has none."""

    branch: Branch
    parent: Branch | None
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

    def add(self, branch: Branch, parent: Branch | None, state: State | None, place: int) -> None:
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

    def __init__(self, targets: int) -> None:
        self._targets = targets
        self._final: dict[int, Tensor] = {}

    def of(self, members: Sequence[_Member]) -> list[_Member]:
        """One control per parent, starting where its branches do."""
        return [
            _Member(Branch(parent.matrix, member.branch.start), None, member.state, member.place)
            for parent, member in {m.parent: m for m in members}.items()
            if parent is not None
        ]

    def correct(
        self, members: Sequence[_Member], scores: TargetScores, batch: Batch
    ) -> TargetScores:
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
        correct = scores.correct[: len(members) * self._targets]
        sequences = batch.sequences.to(correct.device)
        return TargetScores(torch.cat(corrected), correct, sequences, batch.num_sequences)


def _find_out(model: nn.Module, sites: HeadSites) -> Ability:
    """Compare partial with plain passes, on a few tokens and gates that fork in every layer."""
    if not sites.layers:
        return Ability("whole")
    size = int(model.get_input_embeddings().weight.shape[0])  # type: ignore[operator]
    ids = [[(7 * i * (j > 1) + 3 * j + 1) % size for j in range(5)] for i in range(2)]
    rows = [TokenRow(tuple(ids[0]), (False, False, True, False, True))]
    rows.append(TokenRow(tuple(ids[1][:4]), (False, False, False, True)))
    batch = ready(model, collate(rows, 0))
    gates = _trial_gates(sites).to(batch.input_ids.device)
    outputs, projects = _outputs(model, sites, batch)
    if batch.input_ids.is_meta:  # shapes alone, nothing to compare
        return Ability("inside" if projects else "layers", outputs)
    with_gates = AttachedGates(model, sites, gates.repeat_interleave(2, dim=0))
    try:
        expected = target_scores(model, batch.repeat(len(gates))).logprobs.view(len(gates), -1)
    finally:
        with_gates.remove()
    modes: tuple[Mode, ...] = ("inside", "layers") if projects else ("layers",)
    for mode in modes:
        try:
            found = torch.empty_like(expected)
            with PartialForward(model, sites, outputs, inside=mode == "inside") as forward:
                for matrices, scores in score_tree(forward, grow(list(gates)), gates, batch, 40):
                    found[matrices] = scores.logprobs.view(len(matrices), -1)
        except Exception as error:  # whatever a model does that was asked for half of itself
            logger.debug("%s cannot run from %s: %s", type(model).__name__, mode, error)
            continue
        if _agree(found, expected, next(model.parameters()).dtype):
            return Ability(mode, outputs, _shareable(model, rows))
    return Ability("whole")


def _shareable(model: nn.Module, rows: list[TokenRow]) -> int:
    """Up to which length rows may share their beginning: what any window of attention spans."""
    try:
        apart, together = (
            target_scores(model, ready(model, batch)).logprobs
            for batch in (collate(rows, 0), collate_shared(rows, 2))
        )
    except Exception as error:  # masks and positions of our own are too much for some models
        logger.debug("%s cannot share beginnings: %s", type(model).__name__, error)
        return 0
    if not torch.allclose(apart, together, atol=1e-4 if apart.dtype.itemsize > 2 else 0.05):
        return 0
    config = text_config(model)
    spans = [getattr(config, name, None) for name in ("sliding_window", "attention_chunk_size")]
    return min([LONGEST_PACK, *(span for span in spans if isinstance(span, int))])


def ready(model: nn.Module, batch: Batch) -> Batch:
    """A batch on the model's device, in its precision."""
    weight = model.get_input_embeddings().weight  # type: ignore[operator]
    return batch.to(weight.device, weight.dtype)


def _trial_gates(sites: HeadSites) -> Float[Tensor, "matrix layer head"]:
    """Gates that leave the first matrix's path in every layer, once with all above closed."""
    generator = torch.Generator().manual_seed(0)
    first = torch.rand(sites.shape, generator=generator)
    trials = [first]
    for site in sites:
        other, closed = first.clone(), first.clone()
        other[site.layer] = torch.rand(sites.shape[1], generator=generator)
        closed[site.layer] = other[site.layer] / 2
        closed[site.layer + 1 :] = 0
        trials += [other, closed]
    return torch.stack(trials) * sites.existing()


def _outputs(model: nn.Module, sites: HeadSites, batch: Batch) -> tuple[Outputs, bool]:
    """How layers and attentions return, and whether the latter return their projection's output."""
    layers: dict[int, int | None] = {}
    attentions: dict[int, int | None] = {}
    returned: dict[int, Tensor] = {}
    projected: dict[int, Tensor] = {}
    handles: list[RemovableHandle] = []

    def note(lengths: dict[int, int | None], values: dict[int, Tensor], i: int) -> Any:
        def hook(_module: nn.Module, _args: Any, output: Any) -> None:
            lengths[i] = len(output) if isinstance(output, tuple) else None
            values[i] = output[0] if isinstance(output, tuple) else output

        return hook

    try:
        for i, layer in enumerate(sites.layers):
            handles.append(layer.register_forward_hook(note(layers, {}, i)))
        for site in sites:
            i = site.layer
            handles.append(site.attention.register_forward_hook(note(attentions, returned, i)))
            handles.append(site.projection.register_forward_hook(note({}, projected, i)))
        model(**batch.inputs, use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    same = all(_same(returned[site.layer], projected[site.layer]) for site in sites)
    return Outputs(layers, attentions), same


def _same(left: Tensor, right: Tensor) -> bool:
    return left.shape == right.shape and (left.is_meta or torch.equal(left, right))


def _agree(found: Tensor, expected: Tensor, dtype: torch.dtype) -> bool:
    """Equal but for rounding, which must stay small beside what the gates do."""
    rounding = 50 * torch.finfo(dtype).eps * expected.abs().max()
    effect = (expected - expected[0]).abs().max() / 4
    return bool((found - expected).abs().max() <= torch.minimum(rounding, effect))

"""The one place that touches a model: heads are scaled where they exist, and nothing else changes.

Head `(l, h)`'s output is the h-th slice of the *input* of layer l's output projection, so a gate is
a forward pre-hook on that projection (METHOD.md, Gates; paper, section 3):

    out_l = concat_h(G[l, h] * z[l, h]) W_O[l] (+ bias)

With a reference, what a closed gate leaves out is filled in: `G * z + (1 - G) * ref`.

1. `find_head_sites` says where the projections are (`architectures.py`).
2. `attach` checks them once per model with a few tokens (`check_head_sites`), then registers one
   hook per layer.
3. The handle's gates can be replaced between forward passes, and carry gradients if they ask to.
4. On exit every hook of *this* context is removed, whatever happened; nested contexts multiply.

Scaling slices of the attention module's *output* would not gate heads: after the projection every
coordinate mixes all heads.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from chg.architectures import HeadSite, HeadSites, find_head_sites
from chg.config import Unit
from chg.eager import uncompiled
from chg.errors import ArchitectureError, GateError
from chg.foreign import AnyModel, stock_model
from chg.gates import HeadGates
from chg.projections import Turns, turns_of

_checked: WeakKeyDictionary[nn.Module, list[int]] = WeakKeyDictionary()
"""Models whose sites passed the check, with the identity of each projection it was done on."""


def get_attention_module(model: AnyModel, layer: int) -> nn.Module:
    """The attention module of one decoder layer, found as everything here finds it.

    Raises:
        ArchitectureError: the architecture is not recognised.
        GateError: the model has no such layer.
    """
    sites = find_head_sites(model)
    if not 0 <= layer < sites.num_layers:
        raise GateError(
            f"layer {layer} does not exist; the model has layers 0 to {sites.num_layers - 1}"
        )
    for site in sites:
        if site.layer == layer:
            return site.attention
    raise GateError(f"layer {layer} has no softmax attention, and so no heads")


def gate_shape(model: nn.Module, unit: Unit = "head") -> tuple[int, int]:
    """`(layers, heads)` of the model's gate matrix, or `(layers, key-value groups)`."""
    sites = find_head_sites(model)
    return sites.shape if unit == "head" else sites.group_shape


def existing_heads(model: nn.Module, unit: Unit = "head") -> Bool[Tensor, "layer unit"]:
    """Which entries of the gate matrix are heads (groups): in hybrids some layers have none."""
    return find_head_sites(model).existing(unit)


class AttachedGates:
    """Gates on a model, until `remove()`. Use `gated` unless a notebook needs the handle.

    Set `gates` between forward passes to change them; gradients flow into the tensor given.
    """

    def __init__(
        self,
        model: nn.Module,
        sites: HeadSites,
        gates: Tensor,
        reference: Mapping[int, Tensor] | None = None,
    ) -> None:
        self._sites = sites
        _check_reference(sites, reference)
        self._reference = reference
        self._undo = ExitStack()
        self.gates = gates
        try:
            self._undo.enter_context(uncompiled())
            for projection, turns in turns_of(sites).items():
                # A reference stands in for heads as they are before any other gates on them.
                first = reference is not None
                hook = self._hook(turns)
                self._keep(projection.register_forward_pre_hook(hook, prepend=first))
                if turns.shared:
                    self._keep(model.register_forward_pre_hook(turns.restart))
        except BaseException:
            self.remove()
            raise

    def _keep(self, handle: RemovableHandle) -> None:
        self._undo.callback(handle.remove)

    @property
    def gates(self) -> Float[Tensor, "*batch layer head"]:
        """The gates in force: `[layer, head]`, or `[batch, layer, head]`, one matrix per row.

        A matrix with as many columns as key-value groups gates whole groups.
        """
        return self._gates

    @gates.setter
    def gates(self, gates: Float[Tensor, "*batch layer head"]) -> None:
        expected, groups = self._sites.shape, self._sites.group_shape
        if gates.dim() not in (2, 3) or tuple(gates.shape[-2:]) not in (expected, groups):
            grouped = f", in {groups[1]} key-value groups" if groups != expected else ""
            raise GateError(
                f"gates of shape {tuple(gates.shape)} do not fit this model: it has {expected[0]} "
                f"layers x {expected[1]} heads{grouped}, so {expected} or (batch, *{expected})"
            )
        self.unit: Unit = "head" if tuple(gates.shape[-2:]) == expected else "kv_group"
        # Gates stay in (at least) float32: a bfloat16 gate has 8 bits, too few to follow a fit.
        self._gates = gates.to(torch.promote_types(gates.dtype, torch.float32))

    def remove(self) -> None:
        """Take these gates off the model; other contexts on it stay."""
        self._undo.close()

    def _hook(self, turns: Turns) -> Any:
        def scale(_module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
            site = turns.next()
            if self.unit == "head":
                gates = self._gates[..., site.layer, : site.num_heads]
            else:
                of_groups = self._gates[..., site.layer, : site.num_kv_heads]
                gates = of_groups.repeat_interleave(site.num_heads // site.num_kv_heads, dim=-1)
            reference = None if self._reference is None else self._reference[site.layer]
            return scale_heads(args[0], gates, site, reference), *args[1:]

        return scale


def _check_reference(sites: HeadSites, reference: Mapping[int, Tensor] | None) -> None:
    if reference is None:
        return
    for site in sites:
        found = reference.get(site.layer)
        width = site.num_heads * site.head_dim
        if found is None or found.dim() != 3 or found.shape[-1] != width:
            shape = "none" if found is None else tuple(found.shape)
            raise GateError(
                f"the reference of layer {site.layer} must be (1 or rows, 1 or positions, {width})"
                f", found {shape}; it belongs to another model"
            )


def scale_heads(
    heads: Float[Tensor, "batch *pos width"],
    gates: Float[Tensor, "*batch head"],
    site: HeadSite,
    reference: Float[Tensor, "row place whole"] | None = None,
) -> Float[Tensor, "batch *pos width"]:
    """Multiply each head's slice by its gate, computed in float32 and returned in `heads.dtype`.

    Args:
        heads: what enters the projection.
        gates: one per head, for all rows or for each.
        site: the projection.
        reference: what closed gates are filled up with, `gate * head + (1 - gate) * reference`;
            of one row or all, of one position or all, heads side by side.

    Raises:
        ArchitectureError: `heads` is of another width than the projection takes.
        GateError: there are several gate matrices, but not one per row; or the reference is for
            other rows or positions.
    """
    per_head = site.per_head(heads)
    if gates.dim() == 2:
        if gates.shape[0] != heads.shape[0]:
            raise GateError(
                f"{gates.shape[0]} gate matrices were given for a batch of {heads.shape[0]} rows; "
                "give one per row, or a single [layer, head] matrix for all"
            )
        gates = gates.view(gates.shape[0], *[1] * (per_head.dim() - 3), site.num_heads)
    gates = gates.to(heads.device)[..., None]
    gated_heads: Tensor = per_head * gates
    if reference is not None:
        # In the precision of the product: the rest of a float32 gate rounds in float32.
        closed = 1 - gates.to(gated_heads.dtype)
        gated_heads = gated_heads + closed * _reference_per_head(reference, per_head)
    return gated_heads.to(heads.dtype).view_as(heads)


def _reference_per_head(reference: Tensor, per_head: Tensor) -> Tensor:
    """A reference in the shape of `[row, (pos,) head, head_dim]`, or broadcast to it."""
    rows, positions = per_head.shape[0], per_head.shape[1] if per_head.dim() > 3 else 1
    if reference.shape[0] not in (1, rows) or reference.shape[1] not in (1, positions):
        raise GateError(
            f"the reference is for {reference.shape[0]} rows of {reference.shape[1]} positions, "
            f"this pass has {rows} of {positions}; a reference by row or position goes with one "
            "pass over the whole batch it was made for"
        )
    split: Tensor = reference.to(per_head.device).unflatten(-1, per_head.shape[-2:])
    return split if per_head.dim() > 3 else split[:, 0]


def attach(
    model: AnyModel,
    gates: HeadGates | Float[Tensor, "*batch layer head"],
    *,
    reference: Mapping[int, Tensor] | None = None,
    check: bool = True,
) -> AttachedGates:
    """Put gates on a model and return the handle that takes them off again.

    Args:
        model: any transformers causal language model whose heads can be found, as it is or as
            peft, torch.compile, TransformerBridge or nnsight wrap it. While gates are attached,
            compiled code runs uncompiled.
        gates: `HeadGates`, or a tensor in [0, 1] of shape `[layer, head]` or
            `[batch, layer, head]` (one gate matrix per row of the batch).
        reference: what closed gates are filled up with in place of zeros: `everywhere` of a
            `Reference`, or layer -> `[1 or batch, 1 or pos, width of the projection]`.
        check: prove on a few tokens, once per model, that the heads are where they seem to be, and
            that the gates lie in [0, 1]. Off in inner loops that were checked before.

    Raises:
        ArchitectureError: the heads were not found, or the check failed.
        GateError: the gates or the reference do not fit the model, or the gates leave [0, 1].
    """
    model = stock_model(model)
    sites = find_head_sites(model)
    if check:
        identities = [id(site.projection) for site in sites]
        if _checked.get(model) != identities:
            check_head_sites(model, sites)
            _checked[model] = identities
    values = gates.values if isinstance(gates, HeadGates) else gates
    handle = AttachedGates(model, sites, values, reference)
    if check:
        of_heads = values[..., sites.existing(handle.unit).to(values.device)]
        if not bool(((of_heads >= 0) & (of_heads <= 1)).all()):
            handle.remove()
            raise GateError(
                f"gates must lie in [0, 1]; got values from {of_heads.min():.3g} to "
                f"{of_heads.max():.3g}. Logits go through HeadGates(logits) or torch.sigmoid first"
            )
    return handle


@contextmanager
def gated(
    model: AnyModel,
    gates: HeadGates | Float[Tensor, "*batch layer head"],
    *,
    reference: Mapping[int, Tensor] | None = None,
    check: bool = True,
) -> Iterator[AttachedGates]:
    """Run a model under gates: forward passes, `generate`, an evaluation harness, anything.

    Contexts nest, and then gates multiply; each removes only its own hooks. Arguments and errors
    are those of `attach`.

    Example:
        >>> with gated(model, gates):
        ...     model.generate(**tokenizer("The cat", return_tensors="pt"))
    """
    handle = attach(model, gates, reference=reference, check=check)
    try:
        yield handle
    finally:
        handle.remove()


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """Put the model in eval mode without weight gradients; restore every flag afterwards."""
    training = [(module, module.training) for module in model.modules()]
    required = [(weight, weight.requires_grad) for weight in model.parameters()]
    try:
        model.eval()
        for weight, _ in required:
            weight.requires_grad_(False)
        yield
    finally:
        for module, flag in training:
            module.training = flag
        for weight, flag in required:
            weight.requires_grad_(flag)


@dataclass
class _Trace:
    """What one forward pass gave: logits, and what entered and left every projection.

    By layer, and there in the order of use.
    """

    logits: Tensor
    inputs: dict[int, list[Tensor]]
    outputs: dict[int, list[Tensor]]


def check_head_sites(model: nn.Module, sites: HeadSites) -> None:
    """Prove on a few tokens that gates at these sites do what gates are said to do.

    Gates of 1 leave the logits bit for bit as they were; every projection is used (more than once
    where a model runs its layers in turns); closing a head empties its own slice and nothing else
    there or below; closing all heads is felt.

    Raises:
        ArchitectureError: one of these does not hold; the message says which, and where.
    """
    shape = sites.shape
    last = sites[-1]
    closed = torch.ones(shape)
    closed[last.layer, last.num_heads - 1] = 0
    with torch.no_grad(), frozen(model), uncompiled():
        plain = _trace(model, sites, None)
        for site in sites:
            if not plain.inputs[site.layer]:
                raise ArchitectureError(
                    f"{site.path} is not used in a forward pass over text; it is not the attention "
                    "output projection of its layer"
                )
        open_ = _trace(model, sites, torch.ones(shape))
        one_closed = _trace(model, sites, closed)
        all_closed = _trace(model, sites, torch.zeros(shape))
    if not _same(plain.logits, open_.logits):
        raise ArchitectureError("gates of 1 changed the logits: the hooks are not on plain heads")
    if not plain.logits.isfinite().all():
        return  # nothing can be compared with NaN; whatever runs next says that it met one
    if any(last.per_head(use)[..., -1, :].any() for use in one_closed.inputs[last.layer]):
        raise ArchitectureError(f"closing a head left its slice of {last.path} non-zero")
    for site in sites:
        # Only up to its first use has a projection met nothing that the closed head wrote.
        before, after = (
            site.per_head(trace.inputs[site.layer][0]).clone() for trace in (plain, one_closed)
        )
        if site is last:
            after[..., -1, :] = before[..., -1, :]
        if not _same(before, after):
            raise ArchitectureError(
                f"closing a head of {last.path} changed another, at {site.path}"
            )
    moved = any(
        not _same(plain.outputs[site.layer][0], all_closed.outputs[site.layer][0]) for site in sites
    )
    if moved and _same(plain.logits, all_closed.logits):
        raise ArchitectureError(f"closing every head changes no logit; {last.path} leads nowhere")


def _same(left: Tensor, right: Tensor) -> bool:
    return torch.allclose(left, right, rtol=0, atol=0, equal_nan=True)


def _trace(model: nn.Module, sites: HeadSites, gates: Tensor | None) -> _Trace:
    """Run four tokens, with gates if given, and record what passed every projection."""
    inputs: dict[int, list[Tensor]] = {site.layer: [] for site in sites}
    outputs: dict[int, list[Tensor]] = {site.layer: [] for site in sites}
    embedding = model.get_input_embeddings()  # type: ignore[operator]
    rows = int(embedding.weight.shape[0])
    tokens = torch.arange(1, 5, device=embedding.weight.device)[None] % rows
    handles: list[RemovableHandle] = []
    attached = None if gates is None else AttachedGates(model, sites, gates)
    try:
        for projection, turns in turns_of(sites).items():

            def record(_m: nn.Module, args: Any, out: Tensor, turns: Turns = turns) -> None:
                layer = turns.next().layer
                inputs[layer].append(args[0])
                outputs[layer].append(out)

            handles.append(projection.register_forward_hook(record))
        try:
            result = model(
                input_ids=tokens, attention_mask=torch.ones_like(tokens), use_cache=False
            )
        except Exception as error:  # a model that needs more than text fails in ways of its own
            raise ArchitectureError(
                f"{type(model).__name__} failed on four tokens of text: {error}. If it needs more "
                "than text, use its text decoder, e.g. model.language_model"
            ) from error
        logits = result.logits if hasattr(result, "logits") else result.last_hidden_state
        return _Trace(logits, inputs, outputs)
    finally:
        for handle in handles:
            handle.remove()
        if attached is not None:
            attached.remove()

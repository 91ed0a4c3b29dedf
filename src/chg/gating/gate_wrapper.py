"""Gates on a model: heads are scaled where they exist, and nothing else changes.

Head `(l, h)`'s output is the h-th slice of the *input* of layer l's output projection, so a gate is
a forward pre-hook on that projection (docs/method.md#gates; paper, section 3):

    out_l = concat_h(G[l, h] * z[l, h]) W_O[l] (+ bias)

With a reference, what a closed gate leaves out is filled in: `G * z + (1 - G) * ref`. An MLP block
that has a gate is scaled by a forward hook on the module whose output it adds.

1. `find_head_sites` says where the projections and the MLPs are (`chg.models`).
2. `attach` checks them once per model with a few tokens (`check.py`, `mlp_check.py`), then
   registers one hook per projection, and per MLP that has a gate (`hooks.py`).
3. The handle's gates can be replaced between forward passes, and carry gradients if they ask to.
4. On exit every hook of *this* context is removed, whatever happened; nested contexts multiply.

Scaling slices of the attention module's *output* would not gate heads: after the projection every
coordinate mixes all heads.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from weakref import WeakKeyDictionary

from torch import Tensor, nn

from chg.config import Stage, Unit
from chg.errors import GateError
from chg.gating.check import check_head_sites
from chg.gating.hooks import AttachedGates
from chg.gating.mlp_check import check_mlp_sites
from chg.gating.sources import AnyGates, StudyChoice, gate_values, resolve_gates
from chg.models import (
    AnyModel,
    HeadSites,
    SiteKey,
    find_head_sites,
    plain_torch,
    unwrap_model,
)

_checked: WeakKeyDictionary[nn.Module, dict[Unit, list[int]]] = WeakKeyDictionary()
"""Models whose sites passed the checks of a unit, with the identity of each module these were
done on."""


def get_attention_module(model: AnyModel, layer: int) -> nn.Module:
    """Find the attention module of one decoder layer.

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


@plain_torch()
def attach(
    model: AnyModel,
    gates: AnyGates,
    *,
    stage: Stage | None = None,
    seed: int | None = None,
    thresholded: bool | None = None,
    reference: Mapping[SiteKey, Tensor] | None = None,
    check: bool = True,
) -> AttachedGates:
    """Put gates on a model and return the handle that takes them off again.

    Args:
        model: any transformers causal language model whose heads can be found, as it is or as
            peft, torch.compile, TransformerBridge or nnsight wrap it. While gates are attached,
            compiled code runs uncompiled.
        gates: `HeadGates`; a tensor, array or nested list in [0, 1] of shape `[layer, head]` or
            `[batch, layer, head]` (one gate matrix per row of the batch), with one column more to
            gate MLP blocks by; a dict of the gates that are not 1, `{"L0H5": 0}`, `{(0, 5): 0}` or
            `{"L0MLP": 0}`; a `Study`; the path of a gate file or of a study's folder. A tensor
            carries gradients.
        stage: of a study, `initial` (G0), `retention` (G+) or `removal` (G-, if not given).
        seed: of a study, the seed of the fit; its first if not given.
        thresholded: cut at 0.5 into 0 and 1, which is done with a study's gates if not given.
        reference: what closed gates are filled up with in place of zeros: `everywhere` of a
            `Reference`, or layer -> `[1 or batch, 1 or pos, width of the projection]`, of MLPs by
            their path.
        check: prove on a few tokens, once per model, that the heads are where they seem to be, and
            that the gates lie in [0, 1]. Off in inner loops that were checked before.

    Raises:
        ArchitectureError: the heads were not found, or the check failed.
        GateError: the gates or the reference do not fit the model, or the gates leave [0, 1].
        ModelError: another thread works with the model, or it has no weights.
        GateFileError, ResultsError: the file or study is missing or damaged.
    """
    model = unwrap_model(model)
    sites = find_head_sites(model)
    if check:
        _check_once(model, sites, "head")
    values = gate_values(resolve_gates(model, gates, StudyChoice(stage, seed, thresholded)))
    if check and sites.unit_of(values) == "head_and_mlp":
        _check_once(model, sites, "head_and_mlp")
    handle = AttachedGates(model, sites, values, reference)
    if check:
        with ExitStack() as unless_right:
            unless_right.callback(handle.remove)
            _require_in_range(values[..., sites.existing(handle.unit).to(values.device)])
            unless_right.pop_all()
    return handle


def _check_once(model: nn.Module, sites: HeadSites, unit: Unit) -> None:
    """Do a unit's check, unless it was passed with the modules that there are."""
    modules = [site.module for site in sites.mlps]
    if unit == "head":
        modules = [site.projection for site in sites]
    passed, identities = _checked.setdefault(model, {}), [id(module) for module in modules]
    if passed.get(unit) != identities:
        (check_head_sites if unit == "head" else check_mlp_sites)(model, sites)
        passed[unit] = identities


def _require_in_range(of_heads: Tensor) -> None:
    if not bool(((of_heads >= 0) & (of_heads <= 1)).all()):
        raise GateError(
            f"gates must lie in [0, 1]; got values from {of_heads.min():.3g} to "
            f"{of_heads.max():.3g}. Logits go through HeadGates(logits) or torch.sigmoid first"
        )


@contextmanager
def gated(
    model: AnyModel,
    gates: AnyGates,
    *,
    stage: Stage | None = None,
    seed: int | None = None,
    thresholded: bool | None = None,
    reference: Mapping[SiteKey, Tensor] | None = None,
    check: bool = True,
) -> Iterator[AttachedGates]:
    """Run a model under gates: forward passes, `generate`, an evaluation harness, anything.

    Contexts nest, and then gates multiply; each removes only its own hooks. Arguments and errors
    are those of `attach`.

    Example:
        >>> with gated(model, gates):
        ...     model.generate(**tokenizer("The cat", return_tensors="pt"))
        >>> with gated(model, "runs/icl", stage="retention", seed=43):  # doctest: +SKIP
        ...     ...
    """
    handle = attach(
        model,
        gates,
        stage=stage,
        seed=seed,
        thresholded=thresholded,
        reference=reference,
        check=check,
    )
    try:
        yield handle
    finally:
        handle.remove()

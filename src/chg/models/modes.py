"""Modes of a model, each for a while: frozen, uncompiled, other precision, eager attention."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn

from chg.errors import ArchitectureError, ModelError
from chg.models.describe import input_device
from chg.models.torch_state import OfTheProcess, in_one_thread, runs_without_weights
from chg.models.unwrap import AnyModel, unwrap_model


def _force_eager() -> AbstractContextManager[None]:
    try:
        if torch.compiler.is_compiling():
            raise RuntimeError  # as the next line does in code that was not traced
        eager: AbstractContextManager[None] = torch.compiler.set_stance("force_eager")
    except RuntimeError as error:
        raise ArchitectureError(
            "gates cannot be attached inside a compiled function; call it under gates instead"
        ) from error
    return eager


_eager = OfTheProcess(_force_eager)


@contextmanager
def uncompiled() -> Iterator[None]:
    """Disable torch.compile while hooks are attached: compiled graphs ignore new hooks.

    Contexts nest, and may be left in any order. Compiled code is used again after the last, and
    nothing is compiled inside, so no graph holds a hook.

    Raises:
        ArchitectureError: compiled code is running already.
    """
    with _eager.entered():
        yield


@contextmanager
def frozen(model: AnyModel) -> Iterator[None]:
    """Put the model in eval mode without weight gradients; restore every flag afterwards.

    For a training loop of your own over gates: what they were computed from still gets gradients.

    Raises:
        ModelError: another thread works with the model, or it cannot be used as it was made.

    Example:
        >>> with frozen(model), gated(model, torch.sigmoid(logits)):  # doctest: +SKIP
        ...     model(**batch).loss.backward()
    """
    model = unwrap_model(model)
    _require_usable(model)
    training = [(module, module.training) for module in model.modules()]
    required = [(weight, weight.requires_grad) for weight in model.parameters()]
    with in_one_thread(model):
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


def _require_usable(model: nn.Module) -> None:
    if input_device(model).type == "meta" and not runs_without_weights():
        raise ModelError(
            f"{type(model).__name__} has no weights, only their shapes (it is on the meta device); "
            "load it, for example with chg.load_model"
        )
    if any(weight.is_inference() for weight in model.parameters()):
        raise ModelError(
            f"{type(model).__name__} was made under torch.inference_mode, so that no gradient can "
            "pass it; load it outside of that"
        )


@contextmanager
def matmul_dtype(model: nn.Module, dtype: torch.dtype) -> Iterator[None]:
    """Multiply matrices in `dtype`; the residual stream, norms and the loss are in float32.

    Weights are replaced by copies inside, each made once, and are back afterwards.

    Raises:
        ModelError: another thread works with the model.
    """
    swapped: list[tuple[nn.Module, str, nn.Parameter]] = []
    copies: dict[tuple[int, torch.dtype], nn.Parameter] = {}
    low = dtype.itemsize < 4
    casting = torch.autocast(input_device(model).type, dtype=dtype) if low else nullcontext()
    with in_one_thread(model):
        try:
            for module in model.modules():
                wanted = dtype if _multiplies(module) else torch.float32
                for name, weight in list(module._parameters.items()):
                    if weight is None or not weight.is_floating_point() or weight.dtype == wanted:
                        continue
                    key = (id(weight), wanted)
                    if key not in copies:
                        copies[key] = nn.Parameter(weight.detach().to(wanted), requires_grad=False)
                    swapped.append((module, name, weight))
                    module._parameters[name] = copies[key]
            with casting:
                yield
        finally:
            for module, name, weight in swapped:
                module._parameters[name] = weight


@contextmanager
def eager_attention(model: nn.Module) -> Iterator[None]:
    """Compute attention in the way that gives its weights away; as it was afterwards.

    Fused kernels never form the weights. Layers read the way from their configuration in every
    pass; those that chose it when they were made stay as they are.

    Raises:
        ModelError: another thread works with the model.
    """
    before = [(config, config._attn_implementation) for config in _attention_configs(model)]
    with in_one_thread(model):
        try:
            for config, _ in before:
                config._attn_implementation = "eager"
            yield
        finally:
            for config, implementation in before:
                config._attn_implementation = implementation


def _attention_configs(model: nn.Module) -> list[Any]:
    """Find all configurations that name an implementation of attention, those around others first.

    Setting one sets those inside it.
    """
    found: list[Any] = []

    def add(config: Any) -> None:
        named = getattr(config, "_attn_implementation", None) is not None
        if named and all(config is not other for other in found):
            found.append(config)
            for part in list(vars(config).values()):
                add(part)

    for module in model.modules():
        add(getattr(module, "config", None))
    return found


def _multiplies(module: nn.Module) -> bool:
    """Tell modules whose weights are matrices that activations are multiplied with."""
    if isinstance(module, nn.Embedding):
        return False
    return any(weight is not None and weight.dim() > 1 for weight in module._parameters.values())

"""Stock models inside the wrappings of other packages.

Recognised by where its class comes from, so that none of these packages is ever imported.
"""

from __future__ import annotations

from typing import Protocol, TypeAlias, runtime_checkable

from torch import nn

from chg.errors import ArchitectureError


@runtime_checkable
class Envoy(Protocol):
    """Wrapping that nnsight puts around a model; no module itself."""

    _module: nn.Module


AnyModel: TypeAlias = nn.Module | Envoy
"""A stock model, or one that `unwrap_model` can take out of its wrapping."""


def unwrap_model(model: AnyModel) -> nn.Module:
    """Take the module that runs inside a compiled model, a TransformerBridge or an nnsight model.

    Gates on that module are felt through the wrapping, which runs the same modules. Any other
    model, those of peft among them, comes back as it is.

    Raises:
        ArchitectureError: there is no stock model to be had, and the message says what to pass.
    """
    packages = {kind.__module__.split(".")[0] for kind in type(model).__mro__}
    if "nnsight" in packages:
        if not getattr(model, "dispatched", True):
            raise ArchitectureError("nnsight has not loaded the weights yet; use dispatch=True")
        return unwrap_model(model._module)  # type: ignore[arg-type]
    if "transformer_lens" in packages:
        original = getattr(model, "original_model", None)
        if original is None:
            raise ArchitectureError(
                f"{type(model).__name__} holds converted weights; pass the Hugging Face model "
                "itself, or TransformerBridge.boot_transformers(NAME)"
            )
        return unwrap_model(original)
    compiled = getattr(model, "_orig_mod", None)  # of torch.compile
    if isinstance(compiled, nn.Module):
        return unwrap_model(compiled)
    if not isinstance(model, nn.Module):
        raise ArchitectureError(
            f"a {type(model).__name__} is no model; chg.load_model(NAME) makes one from a name"
        )
    return model

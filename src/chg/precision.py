"""Which precision a model's matrix products are computed in, for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import nn

from chg.architectures import input_device


@contextmanager
def multiplying_in(model: nn.Module, dtype: torch.dtype) -> Iterator[None]:
    """Multiply matrices in `dtype`; the residual stream, norms and the loss are in float32.

    Weights are replaced by copies inside, each made once, and are back afterwards.
    """
    swapped: list[tuple[nn.Module, str, nn.Parameter]] = []
    copies: dict[tuple[int, torch.dtype], nn.Parameter] = {}
    low = dtype.itemsize < 4
    casting = torch.autocast(input_device(model).type, dtype=dtype) if low else nullcontext()
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


def _multiplies(module: nn.Module) -> bool:
    """Whether a module's weights are matrices that activations are multiplied with."""
    if isinstance(module, nn.Embedding):
        return False
    return any(weight is not None and weight.dim() > 1 for weight in module._parameters.values())

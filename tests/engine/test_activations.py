"""Activations made cheaper: the same gradients bit for bit, and less kept for the backward pass."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from chg.data.batches import collate
from chg.data.tokens import TokenRow
from chg.engine import open_engine
from chg.engine.activations import KEEP_THEIR_INPUT, cheaper_activations
from chg.models.architectures import gate_shape
from support.tiny_models import make_model

ROW = TokenRow((1, 2, 3, 4, 5, 6, 7, 8), (False, False, *[True] * 6))


def gradient(model: nn.Module) -> Tensor:
    gates = torch.full((2, *gate_shape(model)), 0.5, requires_grad=True)
    with open_engine(model) as engine:
        engine.measure(gates, collate([ROW] * 3, 0)).sum().backward()
    assert gates.grad is not None
    return gates.grad


@pytest.mark.parametrize("family", ["llama_grouped", "gemma", "gpt2", "gpt_neox", "opt"])
def test_gradients_are_the_same_bit_for_bit(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model(family)
    recomputed = gradient(model)
    monkeypatch.setattr("chg.engine.activations.KEEP_THEIR_INPUT", set())
    assert torch.equal(recomputed, gradient(model))
    assert recomputed.abs().max() > 0


class Twice(nn.Module):
    """Two activations, one of them shared with what is outside."""

    def __init__(self, shared: nn.Module) -> None:
        super().__init__()
        self.first, self.second = nn.SiLU(), shared

    def forward(self, value: Tensor) -> Tensor:
        """Both, each multiplied with what autograd then keeps."""
        product: Tensor = self.first(value) * value.exp() + self.second(value) * value.sin()
        return product


class Whole(nn.Module):
    """An activation used inside and outside of a part."""

    def __init__(self) -> None:
        super().__init__()
        self.shared = nn.GELU()
        self.part = Twice(self.shared)

    def forward(self, value: Tensor) -> Tensor:
        """The part and the activation again."""
        product: Tensor = self.shared(value) * self.part(value)
        return product


class Written(nn.Module):
    """An activation whose output is written over."""

    def __init__(self) -> None:
        super().__init__()
        self.activation = nn.SiLU()

    def forward(self, value: Tensor) -> Tensor:
        """What was written, multiplied with what autograd then keeps."""
        output: Tensor = self.activation(value)
        output += 1.0
        return output * value.sin()


class InPlace(nn.Module):
    """An activation that writes over its input."""

    def __init__(self) -> None:
        super().__init__()
        self.activation = nn.SiLU(inplace=True)

    def forward(self, value: Tensor) -> Tensor:
        """The same."""
        output: Tensor = self.activation(value + 0.0)
        return output * value.sin()


@pytest.mark.parametrize("kind", [Whole, Written, InPlace])
def test_several_shared_and_written_activations(kind: type[nn.Module]) -> None:
    model, plain = kind().double(), kind().double()
    for module, forward in cheaper_activations(model, recompute=True):
        module.__dict__["forward"] = forward
    assert {type(module).__name__ for module in model.modules()} & KEEP_THEIR_INPUT
    values = [torch.linspace(-3, 3, 50).double().requires_grad_() for _ in range(2)]
    for one, value in zip((model, plain), values, strict=True):
        one(value).sum().backward()
    assert values[0].grad is not None
    assert torch.equal(values[0].grad, values[1].grad)  # type: ignore[arg-type]

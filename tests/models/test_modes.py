"""Modes that a model is put in for a while."""

from __future__ import annotations

import torch

from chg.models.modes import matmul_dtype
from support.tiny_models import make_model


def test_precision_is_put_back() -> None:
    model = make_model("gpt2")
    before = {name: (id(p), p.dtype) for name, p in model.named_parameters()}
    with matmul_dtype(model, torch.bfloat16):
        inside = {name: p.dtype for name, p in model.named_parameters()}
        out = model.transformer(torch.tensor([[1, 2, 3]])).last_hidden_state
    assert inside["transformer.h.0.mlp.c_fc.weight"] == torch.bfloat16
    assert inside["transformer.h.0.ln_1.weight"] == torch.float32
    assert inside["transformer.wte.weight"] == torch.float32
    assert out.dtype == torch.float32, "the residual stream"
    assert before == {name: (id(p), p.dtype) for name, p in model.named_parameters()}

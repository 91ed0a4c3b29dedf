"""Memory estimates: what a fit keeps, without weights."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from chg.engine.memory import estimate_memory
from support.tiny_configs import tiny_config

ROWS, LENGTH = 4, 32


def test_the_output_of_a_gated_mlp_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    width, layers = 1024, 6
    config = LlamaConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=width,
        num_hidden_layers=layers,
        num_attention_heads=4,
    )
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    less = estimate_memory(model, ROWS, LENGTH).fit
    monkeypatch.setattr("chg.engine.activations.KEEP_THEIR_INPUT", set())
    # Of the layer that the backward pass is in, it is there again.
    expected = (layers - 1) * ROWS * LENGTH * width * 4
    assert estimate_memory(model, ROWS, LENGTH).fit - less == pytest.approx(expected, rel=0.3)


def test_the_weights_are_no_part_of_what_a_fit_takes() -> None:
    """A few tokens through large matrices, which products see transposed."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(tiny_config("opt", ffn_dim=50_000))
    estimate = estimate_memory(model, 1, 4)
    assert 0 < estimate.fit < estimate.weights / 4

"""Gates follow a model wherever and however it runs: dtypes, quantised bases, offloading."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from accelerate import cpu_offload, disk_offload
from torch import Tensor, nn

from chg import load_model
from chg.gate_wrapper import gated
from local_hub import make_gpt2
from test_gate_wrapper import logits, tokens
from tiny_models import HEADS, LAYERS, make_model

GATES = torch.linspace(0, 1, LAYERS * HEADS).view(LAYERS, HEADS)


def under(model: nn.Module, gates: Tensor) -> Tensor:
    with gated(model, gates):
        return logits(model, tokens())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("family", ["gpt2", "llama_grouped"])
def test_half_precision_follows_full_precision(dtype: torch.dtype, family: str) -> None:
    model = make_model(family)
    half = copy.deepcopy(model).to(dtype)
    assert torch.equal(under(half, torch.ones_like(GATES)), logits(half, tokens()))
    expected, difference = under(model, GATES), under(half, GATES).float() - under(model, GATES)
    assert difference.abs().max() < 0.05 * expected.abs().max()


@pytest.mark.filterwarnings("ignore:torch.ao.quantization", "ignore:torch.quantize_per_tensor")
def test_a_quantised_base_is_gated_as_any_other() -> None:
    """The hook sees activations alone, so what the weights are stored in does not matter."""
    model = make_model("llama_grouped")
    quantised = torch.ao.quantization.quantize_dynamic(copy.deepcopy(model), {nn.Linear})
    assert torch.equal(under(quantised, torch.ones_like(GATES)), logits(quantised, tokens()))
    expected, difference = under(model, GATES), under(quantised, GATES) - under(model, GATES)
    assert difference.abs().max() < 0.1 * expected.abs().max()
    assert (under(quantised, GATES) - logits(quantised, tokens())).abs().max() > 0.01


@pytest.mark.parametrize("where", ["cpu", "disk"])
def test_offloaded_weights(where: str, tmp_path: Path) -> None:
    model = make_model("llama_grouped")
    expected = under(model, GATES)
    if where == "cpu":
        cpu_offload(model, execution_device=torch.device("cpu"))
    else:
        disk_offload(model, str(tmp_path), execution_device=torch.device("cpu"))
    assert torch.equal(under(model, GATES), expected)


def test_device_map(tmp_path: Path) -> None:
    make_gpt2(tmp_path / "model")
    placed, _ = load_model(str(tmp_path / "model"), device_map="auto", dtype="float32")
    plain, _ = load_model(str(tmp_path / "model"), dtype="float32")
    gates = torch.full((plain.config.n_layer, plain.config.n_head), 0.5)
    assert torch.equal(under(placed, gates), under(plain, gates))


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_attention_implementations_agree(attention: str) -> None:
    model = make_model("llama_grouped")
    expected = under(model, GATES)
    model.set_attn_implementation(attention)
    assert (under(model, GATES) - expected).abs().max() < 1e-4


def test_dropout_stays_on_in_training_mode_and_gates_still_apply() -> None:
    model = make_model("gpt2", resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.5).train()
    with gated(model, torch.zeros(LAYERS, HEADS)):
        first, second = logits(model, tokens()), logits(model, tokens())
    assert model.training
    assert torch.equal(first, second), "closed heads hide their own dropout"
    assert not torch.equal(logits(model, tokens()), logits(model, tokens()))

"""Models in the wrappings of other packages are gated as the stock model inside them.

Stand-ins are recognised as the packages' own classes are, so that this much is always tested.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from chg import ablate_heads, evaluate, find_head_sites, fit_contrastive, fit_gates, inspect_model
from chg.errors import ArchitectureError
from chg.gating.gate_wrapper import attach, gated, get_attention_module
from chg.models.describe import input_device
from chg.models.unwrap import unwrap_model
from support.gates import GATES, logits, tokens, under
from support.local_hub import make_tokenizer
from support.rows import ragged_data
from support.tiny_models import make_model


class Envoy:
    """A stand-in for nnsight's wrapping, which is no module."""

    __module__ = "nnsight.intervention.envoy"

    def __init__(self, module: nn.Module, dispatched: bool = True) -> None:
        self._module, self.dispatched = module, dispatched


class Bridge(nn.Module):
    """A stand-in for TransformerBridge."""

    __module__ = "transformer_lens.model_bridge.transformer_bridge"

    def __init__(self, original: nn.Module) -> None:
        super().__init__()
        self.__dict__["original_model"] = original


class HookedTransformer(nn.Module):
    """A stand-in for a model whose weights were converted."""

    __module__ = "transformer_lens.HookedTransformer"


def make_bridge(model: nn.Module, folder: Path) -> Any:
    bridge = pytest.importorskip("transformer_lens.model_bridge").TransformerBridge
    tokenizer = make_tokenizer(folder)
    return bridge.boot_transformers("tiny", hf_model=model, tokenizer=tokenizer, device="cpu")


def make_language_model(model: nn.Module, folder: Path) -> Any:
    return pytest.importorskip("nnsight").LanguageModel(model, tokenizer=make_tokenizer(folder))


WRAPPINGS: dict[str, Callable[[nn.Module, Path], Any]] = {
    "stand-in for nnsight": lambda model, _: Envoy(model),
    "stand-in for a bridge": lambda model, _: Bridge(model),
    "a compiled model in a bridge": lambda model, _: Bridge(torch.compile(model)),
    "TransformerBridge": make_bridge,
    "nnsight": make_language_model,
}


@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_every_job_takes_them(wrapping: str, tmp_path: Path) -> None:
    plain = make_model("llama_grouped")
    wrapped = WRAPPINGS[wrapping](copy.deepcopy(plain), tmp_path)
    assert torch.allclose(figures(wrapped), figures(plain), atol=1e-4)
    assert [s.path for s in find_head_sites(wrapped)] == [s.path for s in find_head_sites(plain)]
    assert inspect_model(wrapped).projections == inspect_model(plain).projections
    layer = unwrap_model(wrapped).model.layers[1]  # type: ignore[union-attr, index]
    assert get_attention_module(wrapped, 1) is layer.self_attn  # type: ignore[union-attr]
    with gated(wrapped, GATES):
        assert (logits(unwrap_model(wrapped), tokens()) - under(plain, GATES)).abs().max() < 1e-4


def figures(model: Any) -> Tensor:
    """What every job finds, in one row."""
    data = ragged_data()
    quiet = {"show_progress": False, "max_steps": 2, "batch_size": 2}
    fit = fit_gates(model, data, **quiet)
    contrast = fit_contrastive(
        model, data, data, held_out_retain=data, held_out_forget=data, starts=2, **quiet
    )
    ablation = ablate_heads(model, data, gates=fit.gates, show_progress=False)
    nll = torch.tensor([evaluate(model, data).nll, evaluate(model, data, GATES).nll])
    parts = [fit.gates.values, contrast.gates.values, torch.from_numpy(ablation.scores), nll]
    return torch.cat([part.flatten().float() for part in parts])


def test_every_job_takes_a_compiled_model_that_ran_before() -> None:
    torch.compiler.reset()
    plain = make_model("llama_grouped")
    compiled = torch.compile(copy.deepcopy(plain), backend="aot_eager")
    expected = logits(compiled, tokens())
    assert torch.allclose(figures(compiled), figures(plain), atol=1e-4)
    assert torch.equal(logits(compiled, tokens()), expected)


@pytest.mark.parametrize("family", ["gpt2", "llama_grouped", "gpt_neox", "opt"])
def test_gates_are_felt_in_a_transformer_bridge(family: str, tmp_path: Path) -> None:
    plain = make_model(family)
    bridge = make_bridge(copy.deepcopy(plain), tmp_path)
    with gated(bridge, GATES), torch.no_grad():
        gated_logits = bridge.run_with_cache(tokens())[0]
    assert (gated_logits - under(plain, GATES)).abs().max() < 1e-4
    bridge.enable_compatibility_mode(disable_warnings=True)  # folds norms, centres weights
    with gated(bridge, GATES), torch.no_grad():
        after = bridge(tokens())
    expected = under(plain, GATES).log_softmax(-1)
    assert (after.log_softmax(-1) - expected).abs().max() < 1e-4
    with torch.no_grad():
        ungated = bridge(tokens()).log_softmax(-1)
    assert (ungated - logits(plain, tokens()).log_softmax(-1)).abs().max() < 1e-4


def test_gates_are_felt_in_an_nnsight_trace(tmp_path: Path) -> None:
    plain = make_model("llama_grouped")
    model, ids = make_language_model(copy.deepcopy(plain), tmp_path), tokens()
    with gated(model, GATES), model.trace(ids):
        traced = model.output.logits.save()
    assert (traced - under(plain, GATES)).abs().max() < 1e-5
    with model.trace(ids):
        ungated = model.output.logits.save()
    assert (ungated - logits(plain, ids)).abs().max() < 1e-5


def test_nnsight_weights_that_are_not_loaded_yet_are_refused(tmp_path: Path) -> None:
    nnsight = pytest.importorskip("nnsight")
    make_model("llama_grouped").save_pretrained(tmp_path)
    tokenizer = make_tokenizer(tmp_path)
    with pytest.raises(ArchitectureError, match="dispatch=True"):
        find_head_sites(nnsight.LanguageModel(str(tmp_path), tokenizer=tokenizer))
    loaded = nnsight.LanguageModel(str(tmp_path), tokenizer=tokenizer, dispatch=True)
    attach(loaded, GATES).remove()


def test_hooked_transformer_is_refused() -> None:
    pytest.importorskip("transformer_lens.HookedTransformer")  # TransformerLens 4 has none
    import transformer_lens as lens

    config = lens.HookedTransformerConfig(
        n_layers=2, d_model=32, n_ctx=16, d_head=8, n_heads=4, d_vocab=64, act_fn="gelu", d_mlp=48
    )
    with pytest.raises(ArchitectureError, match="converted weights; pass the Hugging Face model"):
        find_head_sites(lens.HookedTransformer(config))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (HookedTransformer(), "HookedTransformer holds converted weights; pass the Hugging Face"),
        (Envoy(nn.Linear(1, 1), dispatched=False), "dispatch=True"),
        ("gpt2", "a str is no model; chg.load_model"),
    ],
)
def test_what_holds_no_stock_model_is_refused(model: Any, message: str) -> None:
    with pytest.raises(ArchitectureError, match=message):
        unwrap_model(model)


def test_a_stock_model_is_itself() -> None:
    model = make_model("gpt2")
    assert unwrap_model(model) is model
    assert input_device(unwrap_model(torch.compile(model))) == torch.device("cpu")

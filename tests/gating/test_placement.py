"""Gates follow a model wherever and however it runs: dtypes, quantised bases, offloading."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from accelerate import cpu_offload, disk_offload
from torch import Tensor, nn

from chg import load_model
from chg.errors import ArchitectureError
from chg.gating.gate_wrapper import attach, gated
from chg.models.architectures import find_head_sites
from chg.models.modes import uncompiled
from support.gates import GATES, logits, tokens, under
from support.local_hub import make_gpt2
from support.tiny_models import HEADS, LAYERS, make_model


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


@pytest.mark.parametrize("bits", [4, 8])
def test_weights_quantised_by_torchao(bits: int) -> None:
    """Against the same model with the quantised weights written out."""
    pytest.importorskip("torchao")
    from torchao.quantization import Int8WeightOnlyConfig, IntxWeightOnlyConfig, quantize_
    from torchao.quantization.granularity import PerGroup

    to_int4 = IntxWeightOnlyConfig(weight_dtype=torch.int4, granularity=PerGroup(16))
    quantised = make_model("llama_grouped")
    plain = copy.deepcopy(quantised)
    quantize_(quantised, to_int4 if bits == 4 else Int8WeightOnlyConfig())
    for name, module in quantised.named_modules():
        if isinstance(module, nn.Linear):
            plain.get_submodule(name).weight = nn.Parameter(module.weight.dequantize())
    assert torch.equal(under(quantised, torch.ones_like(GATES)), logits(quantised, tokens()))
    assert (under(quantised, GATES) - under(plain, GATES)).abs().max() < 1e-4


@pytest.mark.parametrize("family", ["gpt2", "llama_grouped"])
def test_adapters_of_peft_gated_are_merged_weights_gated(family: str) -> None:
    peft = pytest.importorskip("peft")
    projection = "c_proj" if family == "gpt2" else "o_proj"
    lora = peft.LoraConfig(
        r=2,
        target_modules=[projection],
        init_lora_weights=False,  # random, so that the adapters matter
        fan_in_fan_out=family == "gpt2",
    )
    model = make_model(family)
    adapted = peft.get_peft_model(copy.deepcopy(model), lora).eval()
    merged = copy.deepcopy(adapted).merge_and_unload()
    assert (under(adapted, GATES) - under(merged, GATES)).abs().max() < 1e-4
    assert (under(adapted, GATES) - under(model, GATES)).abs().max() > 0.01
    with gated(adapted.get_base_model(), GATES):
        inside = logits(adapted, tokens())
    assert torch.equal(under(adapted, GATES), inside)


def compiled_by_method(model: nn.Module) -> nn.Module:
    model.compile(backend="aot_eager")
    return model


def compiled_forward(model: nn.Module) -> nn.Module:
    model.forward = torch.compile(model.forward, backend="aot_eager")
    return model


def compiled_layers(model: nn.Module) -> nn.Module:
    for layer in model.model.layers:  # type: ignore[union-attr]
        layer.compile(backend="aot_eager")
    return model


COMPILERS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "function": lambda model: torch.compile(model, backend="aot_eager"),
    "method": compiled_by_method,
    "forward": compiled_forward,
    "layers": compiled_layers,
}


@pytest.mark.parametrize("how", COMPILERS)
@pytest.mark.parametrize("ran_before", [True, False])
def test_gates_on_a_compiled_model_are_felt_and_leave_nothing(how: str, ran_before: bool) -> None:
    """Code compiled without hooks would skip them, and code compiled with them would keep them."""
    torch.compiler.reset()
    plain = make_model("llama_grouped")
    model = COMPILERS[how](copy.deepcopy(plain))
    if ran_before:
        assert (logits(model, tokens()) - logits(plain, tokens())).abs().max() < 1e-5
    with gated(model, GATES) as handle:
        for gates in (GATES, 1 - GATES):
            handle.gates = gates
            assert (logits(model, tokens()) - under(plain, gates)).abs().max() < 1e-5
    assert (logits(model, tokens()) - logits(plain, tokens())).abs().max() < 1e-5
    assert (under(model, GATES) - under(plain, GATES)).abs().max() < 1e-5
    sites = find_head_sites(model)
    assert [site.path for site in sites] == [site.path for site in find_head_sites(plain)]


def test_compiled_code_rests_until_the_last_gates_are_gone() -> None:
    torch.compiler.reset()
    runs = []

    def backend(graph: torch.fx.GraphModule, _: object) -> Callable[..., object]:
        runs.append(graph)
        return graph.forward

    model = torch.compile(make_model("gpt2"), backend=backend)
    outer, inner = attach(model, GATES), attach(model, GATES)
    outer.remove()
    logits(model, tokens())
    assert not runs
    inner.remove()
    inner.remove()  # once more does no harm
    logits(model, tokens())
    assert runs


def test_gates_inside_a_compiled_function_are_refused() -> None:
    def run(value: Tensor) -> Tensor:
        with uncompiled():  # as gates do; the shape checks of these tests cannot be compiled
            return value + 1

    with pytest.raises(ArchitectureError, match="inside a compiled function"):
        torch.compile(run, backend="eager")(torch.ones(1))
    with uncompiled():
        assert run(torch.ones(1)) == 2


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


@pytest.mark.parametrize("attention", ["eager", "sdpa", "flex_attention"])
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

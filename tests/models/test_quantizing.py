"""Weights that are quantized on loading: what is made of them, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

import chg
from chg.errors import ConfigError, ModelError
from chg.models.describe import describe_model
from chg.models.weights import weights_difference
from support.adapters import save_adapter
from support.gates import GATES, logits, tokens, under
from support.local_hub import make_tokenizer
from support.tiny_models import make_model


def wide_llama() -> LlamaForCausalLM:
    """A Llama whose layers are as wide as the blocks of weights that have a scale in common."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "intermediate_size": 128, "vocab_size": 400}
    heads = {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    return LlamaForCausalLM(LlamaConfig(**sizes, **heads, tie_word_embeddings=False)).eval()


@pytest.fixture
def llama(tmp_path: Path) -> Path:
    """A folder with a small Llama and a tokenizer."""
    wide_llama().save_pretrained(tmp_path / "llama")
    make_tokenizer(tmp_path / "llama")
    return tmp_path / "llama"


def use_only(package: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let one of the packages be installed, or none."""
    monkeypatch.setattr("chg.models.quantizing.find_spec", lambda name: name == package or None)


@pytest.mark.parametrize("package", ["bitsandbytes", "torchao"])
@pytest.mark.parametrize("bits", ["4bit", "8bit"])
def test_quantized_weights_are_gated_and_known(
    bits: str, package: str, llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip(package)
    use_only(package, monkeypatch)
    plain, _ = chg.load_model(str(llama))
    model, _ = chg.load_model(str(llama), quantize=bits)
    assert describe_model(model)["quantization"] == f"{package} {bits}"
    assert weights_difference(describe_model(plain), describe_model(model))
    expected = logits(plain, tokens())
    assert 0 < (logits(model, tokens()) - expected).abs().max() < 0.3 * expected.abs().max()
    assert torch.equal(under(model, torch.ones_like(GATES)), logits(model, tokens()))
    found = chg.inspect_model(model)
    assert found.parameters == sum(weight.numel() for weight in plain.parameters())
    assert found.quantization == f"{package} {bits}"
    save_adapter(plain, llama.parent / "adapter", str(llama))
    adapted, _ = chg.load_model(str(llama.parent / "adapter"), quantize=bits)
    assert describe_model(adapted)["adapters"] == ["default"]
    assert weights_difference(describe_model(model), describe_model(adapted))


def test_layers_that_torchao_cannot_divide_are_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torchao")
    use_only("torchao", monkeypatch)
    make_model("llama_grouped").save_pretrained(tmp_path)
    make_tokenizer(tmp_path)
    with pytest.raises(ModelError, match="cannot be quantised so; another --quantize may do"):
        chg.load_model(str(tmp_path), quantize="4bit")


def test_what_cannot_be_quantized_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torchao")
    use_only("torchao", monkeypatch)
    with pytest.raises(ModelError, match="nothing in builtin:tiny that it can quantise"):
        chg.load_model("builtin:tiny", quantize="8bit")


def test_without_a_package_a_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    use_only(None, monkeypatch)
    with pytest.raises(ModelError, match=r"--quantize 4bit needs .*: pip install bitsandbytes"):
        chg.load_model("builtin:tiny", quantize="4bit")


def test_weights_that_are_quantized_already_are_refused(llama: Path) -> None:
    model = wide_llama()
    model.config.quantization_config = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    model.config.save_pretrained(llama)
    with pytest.raises(ModelError, match="quantised already; leave --quantize out"):
        chg.load_model(str(llama), quantize="8bit")


def test_other_numbers_of_bits_are_refused() -> None:
    with pytest.raises(ConfigError, match="--quantize must be one of 4bit, 8bit"):
        chg.load_model("builtin:tiny", quantize="5bit")

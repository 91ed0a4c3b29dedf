"""SmolLM2-135M-Instruct as a GGUF file, which `make real` fetches: what holds on a real model."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import chg
from chg.cli.main import main
from chg.models.describe import describe_model
from chg.models.weights import weights_difference
from support.adapters import save_adapter
from support.gates import logits

pytestmark = pytest.mark.real

PROMPT = "When Mary and John went to the store, John gave a drink to"
ROWS = [
    {"prompt": PROMPT, "target": "Mary"},
    {"prompt": "After Lisa and Peter left the house, Peter handed the keys to", "target": "Lisa"},
]
LAYERS, HEADS, HEAD_DIM = 30, 9, 64
SOME_HEADS = ((0, 0), (7, 8), (15, 4), (29, 2))


@pytest.fixture(scope="module")
def path() -> str:
    """The GGUF file."""
    return os.environ["CHG_REAL_MODEL"]


@pytest.fixture(scope="module")
def loaded(path: str) -> tuple[Any, Any]:
    """Model and tokenizer, loaded once."""
    return chg.load_model(path)


def ids(tokenizer: Any, text: str = PROMPT) -> Tensor:
    encoded: Tensor = tokenizer(text, return_tensors="pt").input_ids
    return encoded


def test_inspect(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", path]) == 0
    text = capsys.readouterr().out
    for line in (
        "quantization  dequantised from Q4_1",
        "layers        30",
        "heads         9 per layer, of 64 values",
        "groups        3 per layer, of heads that share keys and values",
        "parameters    134,515,008, ",
        "check         passed",
    ):
        assert line in text


def test_inspect_estimates_memory(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", path, "--memory"]) == 0
    assert "weights       513 MiB" in capsys.readouterr().out


def test_the_indirect_object_comes_next(loaded: tuple[Any, Any]) -> None:
    model, tokenizer = loaded
    assert tokenizer.decode(logits(model, ids(tokenizer))[0, -1].argmax()) == " Mary"


def test_gates_of_one_change_no_bit(loaded: tuple[Any, Any]) -> None:
    model, tokenizer = loaded
    tokens = ids(tokenizer)
    expected = logits(model, tokens)
    with chg.gated(model, torch.ones(LAYERS, HEADS)):
        assert torch.equal(logits(model, tokens), expected)
    assert torch.equal(logits(model, tokens), expected)


def test_ablation_equals_a_plain_loop(loaded: tuple[Any, Any]) -> None:
    model, tokenizer = loaded
    gates = [torch.ones(LAYERS, HEADS), *({f"L{layer}H{head}": 0} for layer, head in SOME_HEADS)]
    scored = chg.evaluate_gates(model, chg.load_data(ROWS, tokenizer), gates)

    def mean_log_prob() -> float:
        scores = []
        for row in ROWS:
            tokens = ids(tokenizer, f"{row['prompt']} {row['target']}")
            log_probs = logits(model, tokens).log_softmax(-1)[0]
            where = torch.arange(ids(tokenizer, row["prompt"]).shape[1], tokens.shape[1])
            scores.append(log_probs[where - 1, tokens[0, where]].mean().item())
        return sum(scores) / len(scores)

    assert scored[0].mean_target_logprob == pytest.approx(mean_log_prob(), abs=1e-4)
    for (layer, head), scores in zip(SOME_HEADS, scored[1:], strict=True):
        own = slice(head * HEAD_DIM, (head + 1) * HEAD_DIM)
        weight = model.model.layers[layer].self_attn.o_proj.weight
        kept = weight.data[:, own].clone()
        weight.data[:, own] = 0
        expected = mean_log_prob()
        weight.data[:, own] = kept
        assert scores.mean_target_logprob == pytest.approx(expected, abs=1e-4)


def test_base_adapter_and_plain_copy_are_different_weights(
    path: str, loaded: tuple[Any, Any], tmp_path: Path
) -> None:
    model, tokenizer = loaded
    save_adapter(model, tmp_path / "adapter", path)
    adapted, _ = chg.load_model(path, adapter=str(tmp_path / "adapter"))
    by_folder, _ = chg.load_model(str(tmp_path / "adapter"))
    base, above = describe_model(model), describe_model(adapted)
    assert "+ adapter default" in weights_difference(base, above)
    assert weights_difference(above, describe_model(by_folder)) == ""
    assert torch.equal(logits(by_folder, ids(tokenizer)), logits(adapted, ids(tokenizer)))
    plain = {**base, "quantization": "none"}
    assert "dequantised from Q4_1" in weights_difference(plain, base)


def test_an_adapter_of_another_model_is_refused(path: str, tmp_path: Path) -> None:
    save_adapter(chg.load_model("builtin:tiny")[0], tmp_path / "adapter", "builtin:tiny")
    with pytest.raises(chg.ChgError, match="does not fit"):
        chg.load_model(path, adapter=str(tmp_path / "adapter"))


@pytest.mark.parametrize("bits", ["4bit", "8bit"])
def test_quantized_copies(bits: str, loaded: tuple[Any, Any], tmp_path: Path) -> None:
    if not any(map(_installed, ("bitsandbytes", "torchao"))):
        pytest.skip("neither bitsandbytes nor torchao is installed")
    model, tokenizer = loaded
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    quantized, _ = chg.load_model(str(tmp_path), quantize=bits)
    assert chg.inspect_model(quantized).parameters == 134_515_008
    assert weights_difference(describe_model(model), describe_model(quantized))
    data = chg.load_data(ROWS, tokenizer)
    assert abs(chg.evaluate(quantized, data).nll - chg.evaluate(model, data).nll) < 1
    fit = chg.fit_gates(quantized, data, max_steps=2, show_progress=False)
    assert fit.gates.logits.shape == (LAYERS, HEADS)


def _installed(package: str) -> bool:
    from importlib.util import find_spec

    return find_spec(package) is not None

"""`chg inspect`: what there is to gate, and what memory it takes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from chg.cli.main import main
from support.tiny_configs import tiny_config
from support.tiny_models import require_family


def test_inspect_prints_what_there_is_to_gate(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "builtin:tiny"]) == 0
    text = capsys.readouterr().out
    assert "heads         8 per layer, of 16 values" in text
    assert "transformer.h.0.attn.c_proj ... transformer.h.3.attn.c_proj" in text
    assert "check         passed" in text


def test_inspect_lists_the_layers_that_have_heads(
    tmp_path: Path, hub: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    require_family("qwen3_next")
    model = AutoModelForCausalLM.from_config(tiny_config("qwen3_next"))
    model.save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(hub / "gpt2").save_pretrained(tmp_path)
    assert main(["inspect", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert "layers        4, 1 with softmax heads: 3" in text
    assert "groups        2 per layer, of heads that share keys and values" in text


def test_inspect_estimates_memory_without_weights(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny_config("gpt2", vocab_size=50_000, n_embd=256, n_positions=512).save_pretrained(tmp_path)

    def estimate(*arguments: str) -> dict[str, float]:
        assert main(["inspect", str(tmp_path), "--memory", "--length", "256", *arguments]) == 0
        text = capsys.readouterr().out
        lines = re.findall(r"^(weights|fit|ablation) +([0-9.]+) ([MG])iB", text, re.MULTILINE)
        return {name: float(size) * (1024 if unit == "G" else 1) for name, size, unit in lines}

    four, eight = estimate("--batch_size", "4"), estimate("--batch_size", "8")
    assert four["weights"] == eight["weights"] == pytest.approx(4 * 50_000 * 256 / 2**20, rel=0.3)
    # What a batch holds for its backward pass, beside a piece of logits that does not grow.
    assert four["fit"] < eight["fit"] < 2 * four["fit"]
    assert estimate("--batch_size", "8", "--recompute", "layer")["fit"] < four["fit"]
    assert 0 < eight["ablation"] < eight["fit"]
    assert main(["inspect", str(tmp_path), "--memory", "--length", "1"]) == 2

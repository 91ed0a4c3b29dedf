"""Adapters of peft: by their folder, or on top of a model; what is none, or for another model."""

from __future__ import annotations

import json
import shutil
from importlib.resources import files
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import chg
from chg.config.model import ModelConfig
from chg.errors import ModelError
from chg.models.describe import describe_model
from chg.models.loading import load_without_weights
from support.adapters import save_adapter
from support.gates import logits, tokens
from support.local_hub import make_gpt2, make_tokenizer

BUILTIN = str(files("chg.builtin") / "tiny")
TINY = "builtin:tiny"


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    """A folder with an adapter of the built-in model."""
    save_adapter(chg.load_model(TINY)[0], tmp_path / "adapter", TINY)
    return tmp_path / "adapter"


@pytest.mark.parametrize("settings", [{"model": "adapter"}, {"model": TINY, "adapter": "adapter"}])
def test_an_adapter_is_at_work(settings: dict[str, str], tmp_path: Path) -> None:
    base, _ = chg.load_model(TINY)
    adapted = save_adapter(base, tmp_path / "adapter", BUILTIN)
    named = {key: str(tmp_path / v) if v == "adapter" else v for key, v in settings.items()}
    model, tokenizer = chg.load_model(**named)
    described = describe_model(model)
    assert described["model"] == named["model"]
    assert described["adapters"] == ["default"]
    assert described["weights"] != describe_model(base)["weights"]
    assert len(tokenizer("hot : cold")["input_ids"]) > 1
    assert torch.allclose(logits(model, tokens()), logits(adapted, tokens()), atol=1e-5)
    assert not torch.allclose(logits(model, tokens()), logits(base, tokens()), atol=1e-2)
    assert not any(
        weight.requires_grad for name, weight in model.named_parameters() if "lora" in name
    )
    shape = chg.find_head_sites(load_without_weights(ModelConfig(**named))).shape
    assert shape == chg.find_head_sites(model).shape == (4, 8)


def test_an_adapters_own_tokenizer_comes_first(adapter: Path) -> None:
    make_tokenizer(adapter)
    assert len(chg.load_model(str(adapter))[1]) == 400
    assert len(chg.load_model(TINY, adapter=str(adapter))[1]) == 400


def test_an_adapter_has_the_precision_that_was_asked_for(adapter: Path) -> None:
    model, _ = chg.load_model(str(adapter), dtype="bfloat16")
    assert {weight.dtype for weight in model.parameters()} == {torch.bfloat16}


def test_an_adapter_on_layers_that_accelerate_placed(adapter: Path) -> None:
    placed, _ = chg.load_model(str(adapter), device_map="auto", dtype="float32")
    expected = logits(chg.load_model(str(adapter))[0], tokens())
    assert torch.equal(logits(placed, tokens()), expected)


def refusal(**settings: str) -> str:
    """The one line by which a model is refused."""
    with pytest.raises(ModelError) as refused:
        chg.load_model(**settings)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_an_adapter_without_peft_says_what_to_do(
    adapter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chg.models.adapters.find_spec", lambda _: None)
    assert "pip install peft" in refusal(model=str(adapter))
    assert "pip install peft" in refusal(model=TINY, adapter=str(adapter))


@pytest.mark.parametrize("base", ["/nowhere/base", "nobody/base"])
def test_a_base_that_cannot_be_had_is_named(base: str, adapter: Path) -> None:
    settings = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(
        json.dumps({**settings, "base_model_name_or_path": base})
    )
    text = refusal(model=str(adapter))
    assert repr(base) in text
    assert f"as --model, and --adapter {adapter}" in text
    assert chg.load_model(TINY, adapter=str(adapter)), "as it says"


def test_a_base_that_is_not_named(adapter: Path) -> None:
    (adapter / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    assert "does not name the model" in refusal(model=str(adapter))


def test_what_is_no_adapter(tmp_path: Path, adapter: Path) -> None:
    make_gpt2(tmp_path / "gpt2")
    assert "has no adapter_config.json" in refusal(model=TINY, adapter=str(tmp_path / "gpt2"))
    assert "does not exist" in refusal(model=TINY, adapter=str(tmp_path / "nothing"))
    assert "hub did not give it: it cannot be reached" in refusal(model=TINY, adapter="some/where")
    assert "is an adapter itself" in refusal(model=str(adapter), adapter=str(adapter))


@pytest.mark.parametrize("file", ["adapter_config.json", "adapter_model.safetensors"])
@pytest.mark.parametrize("content", [b"", b"[]", b'{"a": null}', b"\xff" * 100, None])
def test_a_damaged_adapter_is_refused(file: str, content: bytes | None, adapter: Path) -> None:
    (adapter / file).unlink()
    if content is not None:
        (adapter / file).write_bytes(content)
    assert "adapter" in refusal(model=TINY, adapter=str(adapter))
    assert "adapter" in refusal(model=str(adapter))


def test_weights_that_could_run_code_are_not_read(adapter: Path) -> None:
    weights = load_file(adapter / "adapter_model.safetensors")
    torch.save(weights, adapter / "adapter_model.bin")
    (adapter / "adapter_model.safetensors").unlink()
    assert "no other file is read" in refusal(model=str(adapter))


@pytest.mark.parametrize(
    "settings",
    [
        {"peft_type": "PROMPT_TUNING", "task_type": "CAUSAL_LM", "num_virtual_tokens": 4},
        {"peft_type": "LORA", "megatron_config": {"a": 1}, "megatron_core": "antigravity"},
    ],
)
def test_adapters_of_other_kinds_are_refused(settings: dict[str, object], adapter: Path) -> None:
    (adapter / "adapter_config.json").write_text(
        json.dumps({**settings, "base_model_name_or_path": TINY})
    )
    assert "is none that changes weights alone" in refusal(model=str(adapter))


def test_an_adapter_of_another_model_is_refused(tmp_path: Path, adapter: Path) -> None:
    for name, sizes in {"narrow": {"n_embd": 64}, "flat": {"n_layer": 2, "n_embd": 128}}.items():
        make_gpt2(tmp_path / name, **sizes)
        text = refusal(model=str(tmp_path / name), adapter=str(adapter))
        assert f"does not fit {tmp_path / name}; it was made for 'builtin:tiny'" in text
    weights = load_file(adapter / "adapter_model.safetensors")
    shutil.copytree(adapter, tmp_path / "part")
    some = {name: weight for name, weight in weights.items() if ".h.3." not in name}
    save_file(some, tmp_path / "part" / "adapter_model.safetensors")
    assert "does not fit builtin:tiny" in refusal(model=str(tmp_path / "part"))

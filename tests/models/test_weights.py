"""Weights are known by a hash, the adapters at work, and the quantization."""

from __future__ import annotations

import copy
from typing import Any

import accelerate
import pytest
import torch
from torch import Tensor, nn
from torch.testing._internal.two_tensor import TwoTensor

import chg
from chg.models.describe import describe_model
from chg.models.weights import (
    count_weights,
    describe_weights,
    hash_weights,
    quantization,
    weights_difference,
)
from support.adapters import with_adapter
from support.gates import logits, tokens
from support.tiny_models import make_model


def test_the_hash_is_the_same_in_every_process_and_of_every_copy() -> None:
    model, _ = chg.load_model("builtin:tiny")
    assert hash_weights(model) == hash_weights(copy.deepcopy(model)) == "e58445f6c6492439"


def test_any_change_of_a_weight_is_another_hash() -> None:
    model = make_model("llama_grouped")
    before = hash_weights(model)
    with chg.gated(model, torch.zeros(2, 4)):
        assert hash_weights(model) == before, "gates are no weights"
    model.model.layers[1].mlp.up_proj.weight.data[3, 4] += 1e-3
    changed = hash_weights(model)
    assert changed != before
    assert hash_weights(make_model("llama_grouped").to(torch.bfloat16)) not in (before, changed)
    swapped = make_model("llama_grouped")
    first, second = swapped.model.layers
    first.mlp, second.mlp = second.mlp, first.mlp
    assert hash_weights(swapped) != before, "names count"


def test_a_known_hash_is_taken_until_a_weight_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model("gpt2")
    counted: list[nn.Module] = []

    def hash_and_count(model: nn.Module) -> str | None:
        counted.append(model)
        return hash_weights(model)

    monkeypatch.setattr("chg.models.weights.hash_weights", hash_and_count)
    first = describe_weights(model)["weights"]
    assert describe_weights(model, known=True)["weights"] == first
    assert len(counted) == 1
    with torch.no_grad():
        model.transformer.wte.weight.mul_(2)
    assert describe_weights(model, known=True)["weights"] != first
    model.transformer.wte.weight.data.mul_(2)
    assert describe_weights(model)["weights"] == hash_weights(model), "a result's is always fresh"


def test_adapters_at_work_are_named() -> None:
    base = make_model("gpt2")
    plain, adapted = describe_model(base), with_adapter(base)
    found = describe_model(adapted)
    assert plain["adapters"] == []
    assert found["adapters"] == ["default"]
    assert found["weights"] != plain["weights"]
    difference = weights_difference(plain, found)
    assert difference == (f"{plain['weights']} there, {found['weights']} + adapter default now")
    with adapted.disable_adapter():
        asleep = describe_model(adapted)
    assert asleep["adapters"] == []
    assert asleep["weights"] == found["weights"]
    assert "adapter default there" in weights_difference(found, asleep)


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        (None, "none"),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "bitsandbytes 4bit"),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, "bitsandbytes 8bit"),
        ({"quant_method": "gptq", "bits": 4}, "gptq 4bit"),
        (
            {
                "quant_method": "torchao",
                "quant_type": {"default": {"_type": "Int8WeightOnlyConfig"}},
            },
            "torchao 8bit",
        ),
        (
            {"quant_method": "torchao", "quant_type": {"weight_dtype": {"_data": "int4"}}},
            "torchao 4bit",
        ),
    ],
)
def test_quantization_is_named(settings: dict[str, Any] | None, name: str) -> None:
    model = make_model("gpt2")
    if settings is not None:
        model.config.quantization_config = settings
    assert quantization(model) == name


class Packed(nn.Parameter):
    """A stand-in for the 4-bit weights of bitsandbytes: codes, which it may arrange anew."""

    quant_state: Any

    @classmethod
    def of(cls, codes: Tensor) -> Packed:
        made = torch.Tensor._make_subclass(cls, codes, False)
        made.quant_state = type("State", (), {"shape": (4, 8)})
        return made


def test_codes_of_four_bits_may_be_arranged_anew() -> None:
    codes = torch.arange(16, dtype=torch.uint8)
    model = nn.Linear(2, 2)
    found = []
    for arranged in (codes, codes.flip(0).view(4, 4), codes + 1):
        model.weight = Packed.of(arranged)
        found.append(hash_weights(model))
    assert count_weights(model.weight) == 32, "two to a byte"
    assert found[0] == found[1]
    assert found[0] != found[2]


def test_weights_kept_elsewhere_or_in_parts_are_hashed_too() -> None:
    model = make_model("gpt2")
    expected = hash_weights(model)
    offloaded = accelerate.cpu_offload(copy.deepcopy(model))
    assert next(offloaded.parameters()).is_meta
    assert hash_weights(offloaded) == expected
    assert hash_weights(model.to("meta")) is None
    pairs = nn.Linear(2, 2)
    pairs.weight = nn.Parameter(TwoTensor(torch.ones(2, 2), torch.zeros(2, 2)))
    before = hash_weights(pairs)
    pairs.weight = nn.Parameter(TwoTensor(torch.ones(2, 2), torch.ones(2, 2)))
    assert hash_weights(pairs) != before


def test_hashing_leaves_the_model_as_it_is() -> None:
    model = make_model("gpt2").double()
    before = logits(model, tokens())
    describe_model(model)
    assert torch.equal(logits(model, tokens()), before)


def test_what_cannot_be_compared_does_not_differ() -> None:
    plain = describe_model(make_model("gpt2"))
    old = {key: plain[key] for key in ("model", "revision", "architecture", "dtype")}
    assert weights_difference(old, plain) == ""
    assert weights_difference({**plain, "weights": None}, plain) == ""
    coarse = describe_model(make_model("gpt2").to(torch.bfloat16))
    assert weights_difference(plain, coarse) == "", "another precision: the same model, perhaps"

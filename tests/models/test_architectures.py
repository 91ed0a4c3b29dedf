"""Heads are found where they are, and what cannot be gated says why."""

from __future__ import annotations

import copy

import pytest
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

from chg.errors import ArchitectureError
from chg.models.architectures import find_head_sites
from support.decoders import build
from support.odd_model import Odd
from support.tiny_configs import tiny_config
from support.tiny_models import make_model


def test_half_of_the_heads_never_pass_for_all() -> None:
    model = build("gpt2")
    model.side = copy.deepcopy(model.transformer.h[0])  # type: ignore[union-attr, operator]
    with pytest.raises(ArchitectureError, match="would pass for gates on all"):
        find_head_sites(model)


@pytest.mark.parametrize(
    ("model_type", "shape", "where"),
    [
        ("hrm_text", (8, 4), ["L_module.layers.0", "H_module.layers.3"]),
        ("longcat_flash", (8, 4), ["layers.0.self_attn.0", "layers.3.self_attn.1"]),
    ],
)
def test_all_stacks_and_all_attentions_of_a_layer_have_rows(
    model_type: str, shape: tuple[int, int], where: list[str]
) -> None:
    sites = find_head_sites(build(model_type))
    assert sites.shape == shape
    assert where[0] in sites[0].path
    assert where[1] in sites[-1].path


@pytest.mark.parametrize(
    ("model_type", "reason"), [("jetmoe", "anew for each token"), ("bart", "encoder-decoder")]
)
def test_what_cannot_be_gated_says_why(model_type: str, reason: str) -> None:
    config = tiny_config(model_type)
    auto = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    with pytest.raises(ArchitectureError, match=reason):
        find_head_sites(auto.from_config(config))


@pytest.mark.parametrize("model_type", ["falcon", "gpt_bigcode"])
def test_multi_query_attention_is_one_group(model_type: str) -> None:
    assert find_head_sites(build(model_type)).group_shape == (4, 1)


def test_unknown_architecture_shows_the_tree_and_the_call_that_registers_it() -> None:
    model = Odd()
    with pytest.raises(ArchitectureError) as caught:
        find_head_sites(model)
    message = str(caught.value)
    assert 'register_architecture("odd"' in message
    assert "(out): Linear(in_features=32" in message


def test_heads_that_do_not_divide_are_refused() -> None:
    model = make_model("llama")
    model.config.num_attention_heads = 5
    with pytest.raises(ArchitectureError, match=r"5 heads .* do not divide"):
        find_head_sites(model)

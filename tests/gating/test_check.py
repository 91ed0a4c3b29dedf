"""The check refuses places that hold no heads."""

from __future__ import annotations

import pytest
import torch

import chg
from chg.errors import ArchitectureError
from chg.gating.check import check_head_sites
from chg.gating.gate_wrapper import attach
from chg.models.architectures import find_head_sites
from support.odd_model import Odd
from support.tiny_models import HEADS, LAYERS, make_model


def test_the_check_refuses_a_site_that_is_not_the_attention_output(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("chg.models.layouts._registered", {})
    model = make_model("llama_grouped")
    chg.register_architecture("llama", attention="self_attn", projection="nothing")
    with pytest.raises(ArchitectureError, match=r"looked for self_attn\.nothing"):
        attach(model, torch.ones(LAYERS, HEADS))


def test_the_check_refuses_a_site_that_is_never_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chg.models.layouts._registered", {})
    model = Odd(uses=0)
    chg.register_architecture("odd", attention="mixer", projection="out")
    with pytest.raises(ArchitectureError, match="not used in a forward pass"):
        check_head_sites(model, find_head_sites(model))


def test_a_model_that_cannot_run_on_text_says_what_to_do() -> None:
    model = make_model("llama")
    model.forward = lambda **_: 1 / 0  # type: ignore[method-assign]
    with pytest.raises(ArchitectureError, match="use its text decoder"):
        attach(model, torch.ones(LAYERS, HEADS))

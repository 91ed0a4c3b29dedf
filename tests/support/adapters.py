"""LoRA adapters of peft that change something, in memory and in folders."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn


def with_adapter(model: nn.Module, name: str = "default", seed: int = 1) -> Any:
    """A copy of a model under a LoRA adapter that changes something."""
    peft = pytest.importorskip("peft")
    target = "c_attn" if hasattr(model, "transformer") else "q_proj"
    config = peft.LoraConfig(target_modules=[target], r=2, fan_in_fan_out=target == "c_attn")
    adapted = peft.get_peft_model(copy.deepcopy(model), config, adapter_name=name)
    torch.manual_seed(seed)
    for key, weight in adapted.named_parameters():
        if "lora_B" in key:
            nn.init.normal_(weight)
    return adapted.eval()


def save_adapter(model: nn.Module, folder: Path, base: str, seed: int = 1) -> Any:
    """Save an adapter for a model in a folder that names its base, and return both together."""
    adapted = with_adapter(model, seed=seed)
    adapted.peft_config["default"].base_model_name_or_path = base
    adapted.save_pretrained(folder)
    return adapted

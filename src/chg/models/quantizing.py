"""Quantization of a model's weights while they are loaded, by bitsandbytes or torchao."""

from __future__ import annotations

import logging
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn

from chg.config import Quantize
from chg.errors import ModelError

PACKAGES = ("bitsandbytes", "torchao")
"""Packages that quantize, the preferred one first."""


def quantizing(kind: Quantize, dtype: torch.dtype) -> Any:
    """Settings of transformers that quantize to 4 or 8 bits.

    bitsandbytes: NF4, or LLM.int8. torchao: whole numbers for every 32 weights, or for every row.

    Args:
        kind: the number of bits.
        dtype: type that layers compute in.

    Raises:
        ModelError: neither package is installed.
    """
    for package in PACKAGES:  # one warns in every layer of every pass that it rounds inputs
        logging.getLogger(package).setLevel(logging.ERROR)
    if find_spec("bitsandbytes") is not None:
        from transformers import BitsAndBytesConfig

        if kind == "8bit":
            return BitsAndBytesConfig(load_in_8bit=True)
        return BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype
        )
    if find_spec("torchao") is None:
        raise ModelError(f"--quantize {kind} needs bitsandbytes: pip install bitsandbytes")
    from torchao.quantization import Int8WeightOnlyConfig, IntxWeightOnlyConfig, MappingType
    from torchao.quantization.granularity import PerGroup
    from transformers import TorchAoConfig

    if kind == "8bit":
        return TorchAoConfig(Int8WeightOnlyConfig())
    four_bits = IntxWeightOnlyConfig(
        weight_dtype=torch.int4,  # type: ignore[attr-defined]  # not in its stubs
        granularity=PerGroup(32),
        mapping_type=MappingType.ASYMMETRIC,
    )
    return TorchAoConfig(four_bits)


def require_quantized(model: nn.Module, name: str) -> None:
    """See that some weights of a model were quantized.

    Raises:
        ModelError: none was; torchao leaves all layers alone that are no `nn.Linear`.
    """
    held = (*model.modules(), *model.parameters())
    if not {type(one).__module__.split(".")[0] for one in held} & set(PACKAGES):
        raise ModelError(
            f"--quantize found nothing in {name} that it can quantise; leave it out, or pip "
            "install bitsandbytes"
        )

"""Hugging Face models, and where their heads and MLPs are."""

from chg.models.architectures import find_head_sites, gate_shape
from chg.models.describe import (
    architecture_name,
    describe_model,
    input_device,
    max_positions,
    model_name,
    text_config,
)
from chg.models.heads import HeadSite, HeadSites, SiteKey
from chg.models.layouts import register_architecture
from chg.models.loading import load_model, load_without_weights
from chg.models.mlps import MlpSite
from chg.models.modes import eager_attention, frozen, matmul_dtype, uncompiled
from chg.models.projections import (
    SharedModule,
    first_output,
    record_heads,
    shared_mlps,
    shared_projections,
)
from chg.models.torch_state import in_one_thread, plain_torch, without_weights
from chg.models.unwrap import AnyModel, unwrap_model
from chg.models.weights import WEIGHTS, count_weights, quantization, weights_difference

__all__ = [
    "WEIGHTS",
    "AnyModel",
    "HeadSite",
    "HeadSites",
    "MlpSite",
    "SharedModule",
    "SiteKey",
    "architecture_name",
    "count_weights",
    "describe_model",
    "eager_attention",
    "find_head_sites",
    "first_output",
    "frozen",
    "gate_shape",
    "in_one_thread",
    "input_device",
    "load_model",
    "load_without_weights",
    "matmul_dtype",
    "max_positions",
    "model_name",
    "plain_torch",
    "quantization",
    "record_heads",
    "register_architecture",
    "shared_mlps",
    "shared_projections",
    "text_config",
    "uncompiled",
    "unwrap_model",
    "weights_difference",
    "without_weights",
]

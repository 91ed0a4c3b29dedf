"""Settings of the model: its name, its precision and its place."""

from __future__ import annotations

from dataclasses import dataclass

from chg.config.choices import Dtype, Quantize, Recompute, Settings, Unit
from chg.errors import ConfigError


@dataclass(frozen=True)
class MemoryConfig(Settings):
    """An estimate of the memory that a fit and an ablation would take."""

    memory: bool = False
    """Estimate it instead, from the configuration alone; no weights are loaded."""
    batch_size: int = 4
    """Rows per forward pass."""
    length: int = 512
    """Tokens per row, all of them scored."""
    recompute: Recompute = "none"
    """Parts that the fit computes again in its backward pass: none, each mlp, or each layer."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.batch_size < 1 or self.length < 2:
            raise ConfigError("--batch_size must be at least 1 and --length at least 2")


@dataclass(frozen=True)
class InspectionConfig(Settings):
    """The parts of a model that are inspected."""

    unit: Unit = "head"
    """Parts that gates are for; with head_and_mlp the MLP blocks are found and checked too."""


@dataclass(frozen=True)
class ModelConfig(Settings):
    """The model, and the way it is loaded."""

    model: str = "gpt2"
    """Hub name, local folder, .gguf file, or builtin:tiny (ships with chg, needs no network)."""
    adapter: str | None = None
    """Adapter of peft to put on the model: a local folder, or a hub name."""
    revision: str | None = None
    """Branch, tag or commit of the model on the hub."""
    dtype: Dtype = "auto"
    """Precision of the weights, in every verb; auto is float32 on a CPU and the checkpoint's own
    elsewhere."""
    quantize: Quantize | None = None
    """Quantize the weights on loading, by bitsandbytes, or torchao where only that is installed."""
    device: str = "auto"
    """auto (a GPU where there is one), cpu, cuda, cuda:1, mps ..."""
    device_map: str | None = None
    """Let accelerate place the model, e.g. auto; replaces --device."""
    attn_implementation: str | None = None
    """sdpa, eager, flash_attention_2 ...; the model's default if not given."""
    trust_remote_code: bool = False
    """Run model code that comes with the checkpoint. Only for authors you trust."""


@dataclass(frozen=True)
class MeasuredModel(ModelConfig):
    """The model, where there may be none, and the way it is loaded."""

    model: str = ""
    """Hub name, local folder, or builtin:tiny; nothing is measured if not given."""

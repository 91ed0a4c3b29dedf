"""Choices of settings, and what they are called: each literal once, with a sentence per member."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from chg.errors import ConfigError

Head = tuple[int, int]

OPEN_ABOVE = 0.7
CLOSED_BELOW = 0.3
"""The specification's reading of gates: open above 0.7, closed below 0.3, else middle."""

Dtype = Literal["auto", "float32", "bfloat16", "float16", "float64"]
"""auto: float32 on a CPU, the checkpoint's own elsewhere. Gates and the loss are float32 always."""

AblationMode = Literal["individual", "sequential", "estimate"]
"""individual: every head alone. sequential: one after another, each left out from then on.
estimate: every head alone, from gradients in place of ablation."""

AblationOrder = Literal["forward", "backward", "random"]
"""forward: layer 0 up, head 0 up. backward: the exact reverse. random: drawn from the seed."""

AblationKind = Literal["zero", "mean", "resample"]
"""What an ablated head is replaced by. zero: nothing. mean: its mean over reference rows.
resample: its output in another row, or in a row's corrupted prompt."""


@dataclass(frozen=True)
class AblationWords:
    """An ablation kind in the words of each place that shows it."""

    target: str
    """After "ablated", in a sentence."""
    label: str
    """After a score's name; empty for zero, which is the default."""
    note: str
    """A remark of its own; empty for zero."""


ABLATION_WORDS: dict[AblationKind, AblationWords] = {
    "zero": AblationWords(target="to zero", label="", note=""),
    "mean": AblationWords(
        target="to its mean",
        label=", mean ablation",
        note="a head is replaced by its mean output, not by zero",
    ),
    "resample": AblationWords(
        target="to its output in another row",
        label=", resample ablation",
        note="a head is replaced by its output in another row, not by zero",
    ),
}

LambdaScale = Literal["mean", "per_head"]
"""mean: the regulariser averages over heads. per_head: it sums, as the paper's equation does."""

Recompute = Literal["none", "mlp", "layer"]
"""What a backward pass computes again in place of keeping it: the more, the less memory."""

Reporter = Literal["none", "wandb", "tensorboard", "trackio"]
"""Experiment trackers, through accelerate."""


def require_kind(ablation: AblationKind, per_position: bool) -> None:
    if per_position and ablation != "mean":
        raise ConfigError(f"--per_position belongs to --ablation mean, not {ablation}")


def require_positive(**settings: float | None) -> None:
    for name, value in settings.items():
        if value is not None and not value > 0:
            raise ConfigError(f"--{name} must be greater than 0, got {value}")


Unit = Literal["head", "kv_group"]
UNIT_NAMES: dict[Unit, str] = {"head": "head", "kv_group": "key-value group"}
"""unit -> what people call it"""
UNIT_LETTERS: dict[Unit, str] = {"head": "H", "kv_group": "G"}
"""unit -> its letter in `L3H7`"""


def head_label(layer: int, head: int, unit: Unit = "head") -> str:
    """`L3H7`, or `L3G1` for a key-value group."""
    return f"L{layer}{UNIT_LETTERS[unit]}{head}"


VERDICT_THRESHOLD = 0.5
"""Where a soft gate is cut when it has to be open or closed."""

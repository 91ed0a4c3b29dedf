"""Choices of settings and their names: each literal once, with a sentence per member."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from chg.errors import ConfigError

Head = tuple[int, int]
"""Layer and head, both from 0."""

OPEN_ABOVE = 0.7
CLOSED_BELOW = 0.3
"""The specification's reading of gates: open above 0.7, closed below 0.3, else middle."""

Dtype = Literal["auto", "float32", "bfloat16", "float16", "float64"]
"""Precision of the weights; gates and the loss are float32 always.

auto: float32 on a CPU, the checkpoint's own elsewhere. float32: 4 bytes a weight. bfloat16: 2
bytes, the range of float32 with 8 bits of precision. float16: 2 bytes, 11 bits, a small range.
float64: 8 bytes, for exact comparisons."""

AblationMode = Literal["individual", "sequential", "estimate"]
"""Way of taking heads out.

individual: every head alone. sequential: one after another, each left out from then on. estimate:
every head alone, from gradients in place of ablation."""

AblationOrder = Literal["forward", "backward", "random"]
"""Order of sequential ablation.

forward: layer 0 up, head 0 up. backward: the exact reverse. random: drawn from the seed."""

AblationKind = Literal["zero", "mean", "resample"]
"""Replacement of an ablated head.

zero: nothing. mean: its mean over reference rows. resample: its output in another row, or in a
row's corrupted prompt."""


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
"""Scale of the regulariser.

mean: an average over heads, whatever their number. per_head: a sum, as in the paper's equation."""

Recompute = Literal["none", "mlp", "layer"]
"""Parts that a backward pass computes again in place of keeping them: the more, the less memory.

none: everything is kept. mlp: each layer's MLP is computed again. layer: each whole layer is."""

Reporter = Literal["none", "wandb", "tensorboard", "trackio"]
"""Experiment trackers, through accelerate.

none: no tracker. wandb: Weights & Biases. tensorboard: TensorBoard files in runs/. trackio:
Trackio."""


def require_kind(ablation: AblationKind, per_position: bool) -> None:
    """See that means by position go with ablation by means.

    Raises:
        ConfigError: they do not.
    """
    if per_position and ablation != "mean":
        raise ConfigError(f"--per_position belongs to --ablation mean, not {ablation}")


def require_positive(**settings: float | None) -> None:
    """See that numbers that are given, each under the name of its flag, are above 0.

    Raises:
        ConfigError: one is not.
    """
    for name, value in settings.items():
        if value is not None and not value > 0:
            raise ConfigError(f"--{name} must be greater than 0, got {value}")


DEFAULT_SEED = 42
"""Seed of everything that is drawn, unless another is given."""

Stage = Literal["initial", "retention", "removal"]
"""Stage of a study's fits.

initial: fitted freely (G0). retention: pushed open from there (G+). removal: pushed closed (G-)."""

Unit = Literal["head", "kv_group"]
"""Part of a layer that has a gate.

head: each query head. kv_group: each group of query heads that share keys and values."""

UNIT_NAMES: dict[Unit, str] = {"head": "head", "kv_group": "key-value group"}
"""unit -> its name for people"""
UNIT_LETTERS: dict[Unit, str] = {"head": "H", "kv_group": "G"}
"""unit -> its letter in `L3H7`"""


def head_label(layer: int, head: int, unit: Unit = "head") -> str:
    """Name a head, `L3H7`, or a key-value group, `L3G1`."""
    return f"L{layer}{UNIT_LETTERS[unit]}{head}"


VERDICT_THRESHOLD = 0.5
"""Value at which a soft gate is cut when it has to be open or closed."""

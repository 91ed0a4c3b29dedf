"""Choices of settings and their names: each literal once, with a sentence per member."""

from __future__ import annotations

import numbers
import os
import types
from dataclasses import dataclass
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from chg.errors import ConfigError, perhaps

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

Quantize = Literal["4bit", "8bit"]
"""Bits that weights are quantized to while they are loaded.

4bit: about an eighth of float32's memory. 8bit: about a quarter, and closer to it."""

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

Metric = Literal["logprob", "logit_diff", "kl"]
"""Measure of what a model does, higher for more of it, in nats.

logprob: mean log-probability of the target tokens. logit_diff: logit of the target less that of a
wrong answer, at the first token where they part. kl: minus the divergence of the next-token
distribution from that of the ungated model, which needs no right answers."""


@dataclass(frozen=True)
class MetricWords:
    """A metric in the words of each place that shows it."""

    name: str
    """In a sentence."""
    stored: str
    """Name in result files."""
    note: str = ""
    """A remark of its own; empty for the log-probability."""


METRIC_WORDS: dict[Metric, MetricWords] = {
    "logprob": MetricWords(name="mean target log-probability", stored="mean_target_logprob"),
    "logit_diff": MetricWords(
        name="mean logit difference of target and foil",
        stored="mean_logit_difference",
        note="scored is the logit of the target less that of a wrong answer, at the first token "
        "where they part",
    ),
    "kl": MetricWords(
        name="negative KL divergence from the ungated model",
        stored="mean_negative_kl",
        note="scored is the likeness to the ungated model, to which every change is a loss: no "
        "head can be found to be in the way",
    ),
}

Recompute = Literal["none", "mlp", "layer"]
"""Parts that a backward pass computes again in place of keeping them: the more, the less memory.

none: everything is kept. mlp: each layer's MLP is computed again. layer: each whole layer is."""

Reporter = Literal["none", "wandb", "tensorboard", "trackio"]
"""Experiment trackers, through accelerate.

none: no tracker. wandb: Weights & Biases. tensorboard: TensorBoard files in runs/. trackio:
Trackio."""


@dataclass(frozen=True)
class Settings:
    """Settings that are checked against their own types when they are made.

    Python users meet the choices that the command line has.
    """

    def __post_init__(self) -> None:
        for name, hint in get_type_hints(type(self)).items():
            value = getattr(self, name)
            if not _is_of(value, hint):
                raise ConfigError(f"--{name} {_expected(value, hint)}, got {value!r}")


def _is_of(value: object, hint: Any) -> bool:
    if get_origin(hint) in (Union, types.UnionType):
        return any(_is_of(value, part) for part in get_args(hint))
    if get_origin(hint) is Literal:
        return isinstance(value, str) and value in get_args(hint)
    if hint in (int, float):
        number = numbers.Integral if hint is int else numbers.Real
        return isinstance(value, number) and not isinstance(value, bool)
    if get_origin(hint) is tuple:
        return isinstance(value, tuple) and all(_is_of(one, get_args(hint)[0]) for one in value)
    if hint is str:  # a path or a number says what its text says
        return isinstance(value, str | os.PathLike | numbers.Real)
    return isinstance(value, hint)


def _expected(value: object, hint: Any) -> str:
    """The second half of a sentence about a setting: the values it may have, the nearest first."""
    parts = (hint,) if get_origin(hint) is Literal else get_args(hint) or (hint,)
    choices = [choice for part in parts if get_origin(part) is Literal for choice in get_args(part)]
    if choices:
        return f"must be one of {', '.join(choices)}{perhaps(value, choices)}"
    if get_origin(hint) is tuple:
        return "must be a tuple of texts"
    return f"must be {' or '.join(_KINDS[part] for part in parts)}"


_KINDS = {
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    str: "text",
    types.NoneType: "None",
}
"""type -> its name in a message"""


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


def require_seed(seed: int) -> None:
    """See that a seed, and those counted up from it, fit every random generator.

    Raises:
        ConfigError: it is negative or huge.
    """
    if not 0 <= seed < 2**62:
        raise ConfigError(f"--seed must be 0 or more, and below 2^62, got {seed}")


DEFAULT_SEED = 42
"""Seed of everything that is drawn, unless another is given."""

Stage = Literal["initial", "retention", "removal"]
"""Stage of a study's fits.

initial: fitted freely (G0). retention: pushed open from there (G+). removal: pushed closed (G-)."""

Unit = Literal["head", "kv_group", "head_and_mlp"]
"""Part of a layer that has a gate.

head: each query head. kv_group: each group of query heads that share keys and values. head_and_mlp:
each query head, and the MLP block, which has the last column."""

UNIT_NAMES: dict[Unit, tuple[str, str]] = {
    "head": ("head", "heads"),
    "kv_group": ("key-value group", "key-value groups"),
    "head_and_mlp": ("head or MLP", "heads and MLPs"),
}
"""unit -> its name for people, of one and of several"""

MLP = "MLP"
"""Name of the column of MLP blocks."""


def column_label(column: int, unit: Unit = "head", columns: int = 0) -> str:
    """Name a column of a gate matrix: `H7`, `G1`, or `MLP`, the last of those with MLP blocks."""
    if unit == "head_and_mlp" and column == columns - 1:
        return MLP
    return f"{'G' if unit == 'kv_group' else 'H'}{column}"


def head_label(layer: int, head: int, unit: Unit = "head", columns: int = 0) -> str:
    """Name a head, `L3H7`, a key-value group, `L3G1`, or an MLP block, `L3MLP`.

    Args:
        layer: row of the gate matrix.
        head: its column.
        unit: what has a gate.
        columns: number of columns, for the unit whose last is that of MLP blocks.
    """
    return f"L{layer}{column_label(head, unit, columns)}"


VERDICT_THRESHOLD = 0.5
"""Value at which a soft gate is cut when it has to be open or closed."""

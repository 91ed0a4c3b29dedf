"""`chg inspect MODEL`: what there is to gate in a model, and whether gates work on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from chg.cli.common import say
from chg.config import ModelConfig

POSITIONAL = "model"
"""The setting that may be given without its flag, first."""

EXAMPLES = """\
  chg inspect builtin:tiny
  chg inspect meta-llama/Llama-3.2-1B --dtype bfloat16"""


@dataclass(frozen=True)
class Output:
    """How the command talks."""

    quiet: bool = False
    """No progress bar of loading."""
    config: str | None = None
    """YAML file of settings by flag name; flags override it."""


@dataclass(frozen=True)
class Command:
    """Print a model's layers, heads, groups and projections, and check that gates work on it."""

    model: ModelConfig = field(default_factory=ModelConfig)
    output: Output = field(default_factory=Output)


def run(command: Command) -> None:
    """Load, inspect, print."""
    from chg.cli.inputs import load_checked_model
    from chg.inspection import inspect_model

    model, _ = load_checked_model(command.model, None)
    found = inspect_model(model)
    with_heads = len(found.layers_with_heads)
    layers = f"{found.num_layers}"
    if with_heads < found.num_layers:
        layers += f", {with_heads} with softmax heads: {_listed(found.layers_with_heads)}"
    share = found.parameters_in_heads / found.parameters
    say(f"model         {command.model.model} ({found.architecture})")
    say(f"layers        {layers}")
    say(f"heads         {_range(found.num_heads)} per layer, of {_range(found.head_dim)} values")
    groups = "none: every head has its own keys and values"
    if found.num_kv_heads != found.num_heads:
        groups = f"{_range(found.num_kv_heads)} per layer, of heads that share keys and values"
    say(f"groups        {groups}")
    say(f"projection    {found.projections[0]} ... {found.projections[-1]}")
    say(f"parameters    {found.parameters:,}, {share:.0%} of them in attention modules")
    say("check         passed: gates of 1 change no bit, a closed head empties its own slice alone")


def _range(values: Sequence[int]) -> str:
    low, high = min(values), max(values)
    return str(low) if low == high else f"{low} to {high}"


def _listed(layers: Sequence[int]) -> str:
    return ", ".join(map(str, layers))

"""`chg inspect MODEL`: the heads of a model that can be gated, and a check that gates work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from chg.cli.terminal import Output, say
from chg.config import InspectionConfig, MemoryConfig, ModelConfig

POSITIONAL = "model"
"""The setting that may be given without its flag, first."""

STARTS = {
    "inside": "passes start inside layers, and carry scored positions only to the end",
    "layers": "passes start at layers",
    "whole": "passes run through the whole model",
}
"""Abilities of the engine in a model, in words."""

EXAMPLES = """\
  chg inspect builtin:tiny
  chg inspect builtin:tiny --unit head_and_mlp
  chg inspect SmolLM2-135M-Instruct.Q4_1.gguf
  chg inspect meta-llama/Llama-3.2-1B --memory --batch_size 8 --length 1024"""


@dataclass(frozen=True)
class Command:
    """Print a model's layers, heads, groups and projections, and check that gates work on it."""

    model: ModelConfig = field(default_factory=ModelConfig)
    inspection: InspectionConfig = field(default_factory=InspectionConfig)
    memory: MemoryConfig = field(default_factory=MemoryConfig)
    output: Output = field(default_factory=Output)


def run(command: Command) -> None:
    """Load, inspect, print; or estimate memory without loading."""
    if command.memory.memory:
        _print_memory(command)
        return
    from chg.cli.inputs import load_checked_model
    from chg.engine import inspect_model

    model, _ = load_checked_model(command.model)
    found = inspect_model(model, command.inspection.unit)
    with_heads = len(found.layers_with_heads)
    layers = f"{found.num_layers}"
    if with_heads < found.num_layers:
        layers += f", {with_heads} with softmax heads: {_listed(found.layers_with_heads)}"
    share = found.parameters_in_heads / found.parameters
    shared = f"; rows of up to {found.shareable} tokens share their beginning"
    shared = shared if found.shareable else ""
    adapted = "" if command.model.adapter is None else f", with adapter {command.model.adapter}"
    say(f"model         {command.model.model} ({found.architecture}){adapted}")
    if found.quantization != "none":
        say(f"quantization  {found.quantization}")
    say(f"layers        {layers}")
    say(f"heads         {_range(found.num_heads)} per layer, of {_range(found.head_dim)} values")
    groups = "none: every head has its own keys and values"
    if found.num_kv_heads != found.num_heads:
        groups = f"{_range(found.num_kv_heads)} per layer, of heads that share keys and values"
    say(f"groups        {groups}")
    say(f"projection    {found.projections[0]} ... {found.projections[-1]}")
    if found.mlps:
        say(f"mlps          {found.mlps[0]} ... {found.mlps[-1]}")
    say(f"parameters    {found.parameters:,}, {share:.0%} of them in attention modules")
    say(f"engine        {STARTS[found.starts]}{shared}")
    say("check         passed: gates of 1 change no bit, a closed head empties its own slice alone")
    if found.mlps:
        say("              a closed MLP takes what it adds with it, and no more of the stream")


def _print_memory(command: Command) -> None:
    from chg.cli.inputs import use_cache_when_hub_unreachable
    from chg.engine import estimate_memory
    from chg.models import architecture_name, load_without_weights

    use_cache_when_hub_unreachable()
    batch_size, length = command.memory.batch_size, command.memory.length
    model = load_without_weights(command.model)
    estimate = estimate_memory(model, batch_size, length, command.memory.recompute)
    say(f"model         {command.model.model} ({architecture_name(model)}), {model.dtype}")
    say(f"batch         {batch_size} rows of {length} tokens, all scored")
    quantize = command.model.quantize
    unpacked = "" if quantize is None else f" before they are quantised to {quantize}"
    say(f"weights       {_readable(estimate.weights)}{unpacked}")
    say(f"fit           {_readable(estimate.fit)} above the weights")
    say(f"ablation      {_readable(estimate.ablation)} above the weights")


def _readable(size: int) -> str:
    return f"{size / 2**30:.2f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"


def _range(values: Sequence[int]) -> str:
    low, high = min(values), max(values)
    return str(low) if low == high else f"{low} to {high}"


def _listed(layers: Sequence[int]) -> str:
    return ", ".join(map(str, layers))

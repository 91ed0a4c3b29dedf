"""`chg ablate`: load, take heads out, save, and the heads that matter most."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from chg.cli.parsing import flat_settings
from chg.cli.terminal import format_number, print_table, say
from chg.config import AblationConfig, AblationData, DataConfig, ModelConfig, ReferenceData

if TYPE_CHECKING:
    from chg.results import AblationResult


EXAMPLES = """\
  chg ablate --model gpt2 --gates gates_init.pt --output ablation_results.json
  chg ablate --model gpt2 --dtype bfloat16 --confirm 20 --output screened.json
  chg ablate --model gpt2 --ablation mean --output mean.json
  chg ablate --model gpt2 --mode sequential --ablation_order backward --output backward.json"""

SHOWN = 5


@dataclass(frozen=True)
class Output:
    """What the heads are measured against, and where the results go."""

    output: str = "ablation_results.json"
    """Results file to write (JSON)."""
    gates: str | None = None
    """Gate file all other heads stay at; without one all heads are open."""
    prompts_file: str | None = None
    """Text file with one prompt per line, in place of the dataset."""
    quiet: bool = False
    """No progress bar and no log, only results, warnings and errors."""
    config: str | None = None
    """YAML file of settings by flag name; flags override it."""


@dataclass(frozen=True)
class Command:
    """Take attention heads out and measure the change of the mean target log-probability.

    Negative scores: important heads. Positive: heads that are in the way. Near zero: neutral.
    """

    output: Output = field(default_factory=Output)
    model: ModelConfig = field(default_factory=ModelConfig)
    data: AblationData = field(default_factory=AblationData)
    ablation: AblationConfig = field(default_factory=AblationConfig)
    reference: ReferenceData = field(default_factory=ReferenceData)


def run(command: Command) -> None:
    """Ablate and save."""
    from chg.ablation import ablate_heads
    from chg.cli.inputs import (
        for_ablation,
        load_checked_model,
        load_gates,
        load_inputs,
        load_reference,
    )
    from chg.data import load_prompts
    from chg.files import ensure_writable

    out = ensure_writable(command.output.output)
    gates = load_gates(command.output.gates)
    seed = command.ablation.seed
    model_config, config = command.model, command.ablation
    if model_config.dtype == "bfloat16" and config.mode != "estimate":
        # The weights stay as they are stored, so that --confirm has them.
        model_config = replace(model_config, dtype="auto")
        config = replace(config, screening=True)
    data_config: DataConfig = command.data
    if command.output.prompts_file:
        model, tokenizer = load_checked_model(model_config, gates)
        max_length = command.data.max_length
        data = load_prompts(command.output.prompts_file, tokenizer, max_length=max_length)
    else:
        data_config = for_ablation(command.data, config.ablation)
        model, tokenizer, data = load_inputs(model_config, data_config, seed, gates)
    result = ablate_heads(
        model,
        data,
        config,
        gates=gates,
        reference=load_reference(command.reference, data_config, model, tokenizer, seed),
        show_progress=not command.output.quiet,
    )
    settings = flat_settings(command)
    replace(result, metadata={**result.metadata, "configuration": settings}).save(out)
    _print(result)
    say(f"wrote {out}")


def _print(result: AblationResult) -> None:
    say(
        f"baseline {result.baseline:.4f} nats per token over {result.num_target_tokens:,} target "
        f"tokens of {result.num_sequences} sequences; {result.seconds:.1f} s"
    )
    if result.ablation_note:
        say(result.ablation_note)
    if result.method_note:
        say(f"scores are {result.method_note}")
    if result.mode == "sequential":
        last = result.steps[-1]
        worst = min(result.steps, key=lambda step: step.delta)
        say(f"after all {len(result.steps)} heads: {last.metric:.4f} ({last.score:+.4f})")
        say(
            f"largest single drop: {result.name(worst.layer, worst.head)} at step {worst.step} "
            f"({worst.delta:+.4f})"
        )
        return
    ranked = sorted(result.heads, key=lambda head: head.score)
    shown = min(SHOWN, len(ranked) // 2)
    chosen = [*ranked[:shown], *ranked[len(ranked) - shown :]]
    print_table(
        "most important and most anti-important heads (nats per token)",
        ("head", "score", "stderr"),
        [
            (result.name(h.layer, h.head), f"{h.score:+.4f}", format_number(h.stderr))
            for h in chosen
        ],
    )

"""`chg ablate`: load, take heads out, save, and the heads that matter most."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from chg.cli import terminal
from chg.cli.parsing import flat_settings
from chg.cli.terminal import format_number, print_table, say
from chg.config import AblationConfig, AblationData, ModelConfig, ReferenceData, Stage

if TYPE_CHECKING:
    from chg.cli.inputs import OpenedInputs
    from chg.results import AblationResult

logger = logging.getLogger(__name__)


EXAMPLES = """\
  chg ablate --model gpt2 --gates gates_init.pt --output ablation_results.json
  chg ablate --model gpt2 --gates runs/gpt2 --stage removal --seed 42
  chg ablate --model gpt2 --screening --confirm 20 --output screened.json
  chg ablate --model gpt2 --ablation mean --output mean.json
  chg ablate --model gpt2 --mode sequential --ablation_order backward --output backward.json"""

SHOWN = 5


@dataclass(frozen=True)
class Output(terminal.Output):
    """Gates and prompts that heads are measured with, and where the results go."""

    output: str = "ablation_results.json"
    """Results file to write (JSON)."""
    gates: str | None = None
    """Gate file, or a study's folder, whose gates all other heads stay at; without one all heads
    are open."""
    stage: Stage | None = None
    """With a study's folder: its gates of this stage (default: removal), of the fit of --seed."""
    thresholded: bool = True
    """With a study's folder: its gates cut at 0.5 into 0 and 1, or else as they were fitted."""
    prompts_file: str | None = None
    """Text file with one prompt per line, in place of the dataset."""


@dataclass(frozen=True)
class Command:
    """Take attention heads out and measure the change of the metric, as a rule the mean target
    log-probability.

    Negative scores: important heads. Positive: heads that are in the way. Near zero: neutral.
    """

    output: Output = field(default_factory=Output)
    model: ModelConfig = field(default_factory=ModelConfig)
    data: AblationData = field(default_factory=AblationData)
    ablation: AblationConfig = field(default_factory=AblationConfig)
    reference: ReferenceData = field(default_factory=ReferenceData)


def run(command: Command) -> None:
    """Ablate and save."""
    from chg.cli.inputs import load_checked_model, load_gates
    from chg.files import ensure_writable

    out = ensure_writable(command.output.output)
    settings = command.output
    gates = load_gates(
        settings.gates,
        settings.stage,
        command.ablation.seed,
        default="removal",
        thresholded=settings.thresholded,
    )
    _say_what_dtype_means(command)
    opened = _open(command)
    model, tokenizer = load_checked_model(command.model, gates)
    inputs = opened.tokenize(model, tokenizer)
    from chg.ablation import ablate_heads
    from chg.cli.competence import say_competence

    how = command.ablation
    able = say_competence(model, inputs.data, batch_size=how.batch_size, metric=how.metric)
    result = ablate_heads(
        model,
        inputs.data,
        command.ablation,
        gates=gates,
        reference=inputs.reference,
        show_progress=not command.output.quiet,
    )
    metadata = {**result.metadata, "configuration": flat_settings(command), "competence": able}
    replace(result, metadata=metadata).save(out)
    _print(result)
    say(f"wrote {out}")


def _open(command: Command) -> OpenedInputs:
    """Open the data set, or the prompts given in its place, and reference rows if there are any."""
    from chg.cli.inputs import OpenedInputs, for_metric, open_inputs, open_reference
    from chg.data import open_prompts

    settings, seed = command.ablation, command.ablation.seed
    if command.output.prompts_file is None:
        return open_inputs(
            for_metric(command.data, settings.metric),
            settings.ablation,
            seed,
            reference=command.reference,
        )
    prompts = open_prompts(command.output.prompts_file, max_length=command.data.max_length)
    return OpenedInputs(prompts, open_reference(command.reference, command.data, seed))


def _say_what_dtype_means(command: Command) -> None:
    """Tell who asks for weights in bfloat16 how to multiply in bfloat16 instead."""
    screens = command.ablation.screening or command.ablation.mode == "estimate"
    if command.model.dtype == "bfloat16" and not screens:
        logger.info(
            "--dtype bfloat16 loads the weights in bfloat16; to screen in bfloat16 and keep the "
            "weights as they are, use --screening"
        )


def _print(result: AblationResult) -> None:
    say(
        f"baseline {result.baseline:.4f} nats per token over {result.num_target_tokens:,} target "
        f"tokens of {result.num_sequences} sequences; {result.seconds:.1f} s"
    )
    if result.metric_words.note:
        say(result.metric_words.note)
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

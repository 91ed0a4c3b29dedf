"""`chg contrast`: load both sides, fit, save, and what each side kept."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from chg.cli.common import figure, print_table, require_gate_file_name, say
from chg.cli.parsing import flat_settings
from chg.config import ContrastConfig, DataConfig, ModelConfig

if TYPE_CHECKING:
    from chg.contrastive import ContrastResult

logger = logging.getLogger(__name__)

EXAMPLES = """\
  chg contrast --model builtin:tiny --retain_dataset builtin:instruction \\
      --forget_dataset builtin:copy --max_steps 300 --batch_size 16
  chg contrast --model gpt2 --retain_dataset wikitext --forget_dataset biased.jsonl --alpha 1.0"""


@dataclass(frozen=True)
class Output:
    """Where the gates go."""

    out: str = "gates_contrastive.pt"
    """Gate file to write, .pt or .safetensors."""
    quiet: bool = False
    """No progress bar and no log, only results, warnings and errors."""
    config: str | None = None
    """YAML file of settings by flag name; flags override it."""


@dataclass(frozen=True)
class RetainData:
    """The behaviour to keep."""

    retain_dataset: str = "wikitext"
    """Hub name, local folder or file, or builtin:..."""
    retain_dataset_config: str | None = None
    """Configuration of the dataset; wikitext takes wikitext-2-raw-v1 if none is given."""
    retain_dataset_split: str = "train"
    """Split, slices allowed."""
    retain_text_column: str | None = None
    """Column of plain text: every token but the first is scored (default: text)."""
    retain_prompt_column: str | None = None
    """Column of prompts, read but not scored (default: prompt)."""
    retain_target_column: str | None = None
    """Column of targets: only their tokens are scored (default: target)."""


@dataclass(frozen=True)
class ForgetData:
    """The behaviour to lose."""

    forget_dataset: str | None = None
    """Hub name, local folder or file, or builtin:... Must be given."""
    forget_dataset_config: str | None = None
    """Configuration of the dataset."""
    forget_dataset_split: str = "train"
    """Split, slices allowed."""
    forget_text_column: str | None = None
    """Column of plain text: every token but the first is scored (default: text)."""
    forget_prompt_column: str | None = None
    """Column of prompts, read but not scored (default: prompt)."""
    forget_target_column: str | None = None
    """Column of targets: only their tokens are scored (default: target)."""


@dataclass(frozen=True)
class SharedData:
    """What holds for the rows of both sides."""

    separator: str = " "
    """Put between prompt and target where neither brings white space."""
    chat_template: bool = False
    """Wrap each prompt as a user's turn in the tokenizer's chat template."""
    max_length: int = 512
    """Cut rows to this many tokens."""
    limit: int | None = None
    """Use at most this many rows of either side, drawn with the seed; 0 is all."""


@dataclass(frozen=True)
class Command:
    """Fit gates that keep the retain data and lose the forget data.

    Minimises max(alpha * logP(forget) - logP(retain), -bound) + lambda_reg * mean(gate logits) from
    several starts, and keeps the start that does both best on held-out rows.
    """

    output: Output = field(default_factory=Output)
    model: ModelConfig = field(default_factory=ModelConfig)
    retain: RetainData = field(default_factory=RetainData)
    forget: ForgetData = field(default_factory=ForgetData)
    data: SharedData = field(default_factory=SharedData)
    fit: ContrastConfig = field(default_factory=ContrastConfig)


def side_config(command: Command, side: str) -> DataConfig:
    """The data settings of `retain` or `forget`."""
    own = vars(getattr(command, side))
    named = {name.removeprefix(f"{side}_"): value for name, value in own.items()}
    return DataConfig(**named, **vars(command.data))


def run(command: Command) -> None:
    """Fit and save."""
    from chg.cli.inputs import fit_to_context, for_ablation, load_checked_model
    from chg.contrastive import fit_contrastive
    from chg.data.loading import load_data, load_held_out
    from chg.errors import ConfigError
    from chg.files import ensure_writable

    require_gate_file_name(command.output.out)
    if command.forget.forget_dataset is None:
        raise ConfigError("--forget_dataset must be given: the behaviour to lose")
    out = ensure_writable(command.output.out)
    model, tokenizer = load_checked_model(command.model, None)
    seed, rows = command.fit.seed, command.fit.eval_rows
    sides = {}
    for side in ("retain", "forget"):
        config = for_ablation(side_config(command, side), command.fit.ablation)
        config = fit_to_context(config, model)
        data = load_data(config, tokenizer, seed=seed)
        sides[side] = load_held_out(config, data, tokenizer, rows=rows, seed=seed)
    result = fit_contrastive(
        model,
        sides["retain"][0],
        sides["forget"][0],
        command.fit,
        held_out_retain=sides["retain"][1],
        held_out_forget=sides["forget"][1],
        show_progress=not command.output.quiet,
    )
    metadata = {**result.gates.metadata, "configuration": flat_settings(command)}
    replace(result.gates, metadata=metadata).save(out)
    _print(result)
    for warning in result.warnings:
        logger.warning("warning: %s", warning)
    say(f"wrote {out}")


def _print(result: ContrastResult) -> None:
    rows = []
    for name, side in (("retain", result.retain), ("forget", result.forget)):
        nlls = (side.nll_before, side.nll_after, side.nll_thresholded)
        accuracies = (side.accuracy_before, side.accuracy_after, side.accuracy_thresholded)
        rows.append((f"{name} NLL", *(figure(nll) for nll in nlls)))
        rows.append((f"{name} accuracy", *(f"{accuracy:.1%}" for accuracy in accuracies)))
    print_table("held-out rows", ("", "before", "gated", "gates cut at 0.5"), rows)
    say(f"gates: {result.gates.counts}")
    say(f"start {result.start + 1} of {len(result.starts)} was best")
    say(f"{result.updates} updates of {len(result.starts)} starts in {result.seconds:.1f} s")

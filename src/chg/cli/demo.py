"""`chg demo`: a study of the built-in model, told in plain words."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chg.cli import terminal
from chg.cli.terminal import say

if TYPE_CHECKING:
    from chg.report import Study


EXAMPLES = """\
  chg demo
  chg demo --output_dir my_demo --dataset builtin:instruction"""

EVALUATION_ROWS = 128


@dataclass(frozen=True)
class Output(terminal.Output):
    """The task, and where everything goes."""

    output_dir: str = "demo_output"
    """Folder for the report, tables, gates and pictures; where it exists, demo_output-2 and
    so on."""
    dataset: str = "builtin:icl"
    """Built-in task: builtin:icl, builtin:instruction, builtin:aba or builtin:copy."""
    seed: int = 42
    """Seed of the order of rows, and first seed of the starting gates."""


@dataclass(frozen=True)
class Command:
    """Study the model that ships with chg; needs no network and a minute or two."""

    output: Output = field(default_factory=Output)


def run(command: Command) -> None:
    """Study, and say what was found."""
    from chg.cli.inputs import load_checked_model
    from chg.cli.parsing import flat_settings
    from chg.cli.study import print_findings
    from chg.cli.study_command import StudyCommand, StudyOutput, describe_folder
    from chg.config import DataConfig, ModelConfig, StudyConfig
    from chg.studies import study

    settings = command.output
    folder = _free(settings.output_dir)
    called = StudyCommand(
        output=StudyOutput(out=str(folder)),
        model=ModelConfig(model="builtin:tiny"),
        data=DataConfig(dataset=settings.dataset),
        study=StudyConfig(seed=settings.seed, eval_rows=EVALUATION_ROWS),
    )
    opened = called.open()
    model, tokenizer = load_checked_model(called.model)
    inputs = opened.tokenize(model, tokenizer)
    example = _example(inputs.held_out)
    say(f"The built-in model: {_size(model)}. The task, {settings.dataset}: {example}")
    say(
        f"Fitting gates from {called.study.seeds} starting points: freely (G0), pushed open (G+) "
        "and pushed closed (G-); then ablating every head, and checking what the fits say ..."
    )
    finished = study(
        model,
        inputs.data,
        called.study,
        held_out=inputs.held_out,
        out=folder,
        command=flat_settings(called),
        show_progress=not settings.quiet,
    )
    say(f"{_fits(finished)}\n\nWhat was found")
    print_findings(finished)
    say(describe_folder(folder.resolve()))


def _free(folder: str) -> Path:
    """The folder, or the first of its numbered followers that does not exist."""
    names = (Path(folder if i == 1 else f"{folder}-{i}") for i in count(1))
    return next(path for path in names if not path.exists())


def _size(model: Any) -> str:
    from chg.models import gate_shape

    layers, heads = gate_shape(model)
    weights = sum(weight.numel() for weight in model.parameters())
    return f"{layers} layers x {heads} heads, {weights / 1e6:.1f} million weights"


def _example(data: Any) -> str:
    return f"{len(data)} held-out prompts with {data.num_target_tokens} scored tokens."


def _fits(finished: Study) -> str:
    """The cost of gates, stage by stage."""
    from chg.results import STAGE_NAMES

    figures = finished.manifest["figures"]
    lines = [f"\nHeld-out NLL {figures['ungated']['nll']:.3f} ungated"]
    for stage, name in STAGE_NAMES.items():
        nll, share = figures[stage]["nll"]["mean"], figures[stage]["accuracy"]["mean"]
        lines.append(
            f"  {nll:.3f} with gates {name.phrase}, {share:.0%} of the answer tokens right"
        )
    return "\n".join(lines)

"""`chg study`: many seeds, roles, ablation, the causal check and a report, in one folder."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chg.cli.parsing import flat_settings
from chg.cli.terminal import print_table, say
from chg.config import DataConfig, ModelConfig, ReferenceData, StudyConfig

if TYPE_CHECKING:
    from chg.data import TokenData
    from chg.report import Study


EXAMPLES = """\
  chg study --model builtin:tiny --dataset builtin:icl --seeds 5 --out runs/icl
  chg study --model gpt2 --dataset wikitext --dataset_config wikitext-2-raw-v1 --out runs/gpt2
  chg study --model gpt2 --out runs/gpt2 --resume
  chg study --config runs/icl/config.yaml --out runs/icl-again"""

SHOWN = 8


@dataclass(frozen=True)
class Output:
    """Where everything goes."""

    out: str = "runs/study"
    """Folder for gates, metrics, tables and the report; an existing one is never overwritten."""
    resume: bool = False
    """Go on with the study in --out that was stopped, to the same numbers."""
    quiet: bool = False
    """No progress bar and no log, only results, warnings and errors."""
    config: str | None = None
    """YAML file of settings by flag name; flags override it."""


@dataclass(frozen=True)
class Command:
    """Find out what every head does for a task, with many seeds, and prove it.

    Fits G0, G+ and G- from many starting points side by side, ablates every head, checks the scores
    causally on held-out rows, and leaves one folder with tables, gates and report.html.
    """

    output: Output = field(default_factory=Output)
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    study: StudyConfig = field(default_factory=StudyConfig)
    reference: ReferenceData = field(default_factory=ReferenceData)


def run(command: Command) -> None:
    """Run the study, or what is left of it."""
    from chg.studies import require_usable, study

    settings = command.output
    require_usable(settings.out, resume=settings.resume)
    model, data, held_out, reference = load(command)
    found = study(
        model,
        data,
        command.study,
        held_out=held_out,
        reference=reference,
        out=settings.out,
        resume=settings.resume,
        command=flat_settings(command),
        show_progress=not settings.quiet,
    )
    print_study(found)
    say(where(settings.out))


def load(command: Command) -> tuple[Any, TokenData, TokenData, TokenData | None]:
    """The model, rows to fit and to measure on, and reference rows if there are any."""
    from chg.cli.inputs import for_ablation, load_inputs, load_reference
    from chg.data import load_held_out

    config, data_config = command.study, for_ablation(command.data, command.study.ablation)
    model, tokenizer, data = load_inputs(command.model, data_config, config.seed, None)
    data, held_out = load_held_out(
        data_config, data, tokenizer, rows=config.eval_rows, seed=config.seed
    )
    reference = load_reference(command.reference, data_config, model, tokenizer, config.seed)
    return model, data, held_out, reference


def print_study(found: Study) -> None:
    """What was found, in a few lines and a table."""
    table = found.heads
    counts = table.role.value_counts()
    say("roles: " + ", ".join(f"{count} {role}" for role, count in counts.items()))
    shown = table.sort_values("ablation_score").head(SHOWN)
    print_table(
        "most important heads by ablation (nats per token), scores over seeds",
        ("head", "role", "ablation", "facilitation", "interference"),
        [
            (
                found.name(row.layer, row.head),
                row.role,
                f"{row.ablation_score:+.4f}",
                *(
                    f"{mean:.2f} ({low:.2f}-{high:.2f})"
                    for mean, low, high in (
                        (row.facilitation_mean, row.facilitation_min, row.facilitation_max),
                        (row.interference_mean, row.interference_min, row.interference_max),
                    )
                ),
            )
            for row in shown.itertuples()
        ],
    )
    groups = found.agreement.redundant
    if groups:
        names = [" or ".join(found.name(*head) for head in group.heads) for group in groups[:SHOWN]]
        say(f"any of these suffices: {'; '.join(names)}")
    say(f"{len(found.agreement.circuits)} different facilitating sets in {len(found.seeds)} seeds")
    for curve in found.checks:
        say(f"{curve.score}: {curve.verdict}")


def where(folder: str | Path) -> str:
    """What is in the folder."""
    return (
        f"\nEverything is in {folder}:\n"
        "  report.html        all of it, to open in a browser\n"
        "  heads.csv          every head with scores, intervals and role (also heads.parquet)\n"
        "  gates.safetensors  logits of every seed and stage\n"
        "  figures            every picture as PNG and PDF\n"
        "  manifest.json      what was run; metrics.jsonl every update; checks.json the check\n"
        "  config.yaml        every setting; chg study --config repeats it"
    )

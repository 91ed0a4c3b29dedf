"""`chg study`: many seeds, roles, ablation, the causal check and a report, in one folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from chg.cli.parsing import flat_settings, value_of
from chg.cli.study_command import StudyCommand, StudyOutput, describe_folder
from chg.cli.terminal import print_table, say, say_items
from chg.errors import ConfigError

if TYPE_CHECKING:
    from chg.report import Study


EXAMPLES = """\
  chg study --model builtin:tiny --dataset builtin:icl --seeds 5 --out runs/icl
  chg study --model gpt2 --dataset wikitext --dataset_config wikitext-2-raw-v1 --out runs/gpt2
  chg study --out runs/gpt2 --resume
  chg study --out runs/gpt2 --resume --max_steps 1000 --seeds 20
  chg study --model gpt2 --dataset wikitext --dataset_config wikitext-2-raw-v1 --plan
  chg study --config runs/icl/config.yaml --out runs/icl-again"""

SHOWN = 8


Command = StudyCommand


def own_settings(arguments: Sequence[str]) -> list[str]:
    """Put the settings of a study that is to go on before the flags, which change them.

    Raises:
        ConfigError: it was not made by `chg study`, so it does not know its model.
    """
    from chg.files import CONFIG, MANIFEST, read_json

    if "--resume" not in arguments or value_of(arguments, "--config") is not None:
        return list(arguments)
    folder = Path(value_of(arguments, "--out") or StudyOutput.out)
    if not all((folder / name).is_file() for name in (MANIFEST, CONFIG)):
        return list(arguments)
    if read_json(folder / MANIFEST).get("command"):
        return ["--config", str(folder / CONFIG), *arguments]
    if value_of(arguments, "--model") is not None:
        return list(arguments)
    raise ConfigError(
        f"the study in {folder} was made in Python, so it does not know its model and data; go on "
        "with chg.study(model, rows, out=..., resume=True), or give all flags"
    )


def run(command: StudyCommand) -> None:
    """Run the study, or the rest of it; or say what it would take."""
    from chg.files import require_usable_folder

    settings = command.output
    if not settings.plan:
        require_usable_folder(settings.out, resume=settings.resume)
    opened = command.open()  # a second; what follows imports torch
    from chg.cli.inputs import load_checked_model
    from chg.studies import plan, study

    model, tokenizer = load_checked_model(command.model)
    inputs = opened.tokenize(model, tokenizer)
    if settings.plan:
        rows = {"held_out": inputs.held_out, "reference": inputs.reference}
        say(plan(model, inputs.data, command.study, **rows).text)
        return
    finished = study(
        model,
        inputs.data,
        command.study,
        held_out=inputs.held_out,
        reference=inputs.reference,
        out=settings.out,
        title=settings.title,
        resume=settings.resume,
        command=flat_settings(command),
        show_progress=not settings.quiet,
    )
    print_study(finished)
    say(describe_folder(settings.out))


def print_findings(finished: Study) -> None:
    """Print what the study found, a paragraph per finding."""
    say_items(finished.findings)


def print_study(finished: Study) -> None:
    """Print what the study found in words, and the heads that ablation finds most important."""
    from chg.files import counted

    print_findings(finished)
    shown = finished.heads.sort_values("ablation_score").head(SHOWN)
    print_table(
        "most important heads by ablation (nats per token); gates are means over seeds",
        ("head", "role", "seeds", "ablation", "q", "G-", "G+"),
        [
            (
                finished.name(row.layer, row.head),
                row.role,
                f"{row.seeds_in_role}/{len(finished.seeds)}",
                f"{row.ablation_score:+.4f}",
                f"{row.ablation_q:.2g}",
                f"{row.facilitation_mean:.2f}",
                f"{1 - row.interference_mean:.2f}",
            )
            for row in shown.itertuples()
        ],
    )
    circuits = len(finished.agreement.circuits)
    seeds = counted(len(finished.seeds), "seed")
    say(f"{counted(circuits, 'different facilitating set')} in {seeds}")

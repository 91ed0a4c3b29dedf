"""`chg study`: many seeds, roles, ablation, the causal check and a report, in one folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chg.cli.parsing import flat_settings
from chg.cli.study_command import StudyCommand, describe_folder
from chg.cli.terminal import print_table, say

if TYPE_CHECKING:
    from chg.report import Study


EXAMPLES = """\
  chg study --model builtin:tiny --dataset builtin:icl --seeds 5 --out runs/icl
  chg study --model gpt2 --dataset wikitext --dataset_config wikitext-2-raw-v1 --out runs/gpt2
  chg study --model gpt2 --out runs/gpt2 --resume
  chg study --config runs/icl/config.yaml --out runs/icl-again"""

SHOWN = 8
LONGEST_LINE = 100


Command = StudyCommand


def run(command: StudyCommand) -> None:
    """Run the study, or the rest of one that was stopped."""
    from chg.files import require_usable_folder

    settings = command.output
    require_usable_folder(settings.out, resume=settings.resume)
    opened = command.open()  # a second; what follows imports torch
    from chg.cli.inputs import load_checked_model
    from chg.studies import study

    model, tokenizer = load_checked_model(command.model)
    inputs = opened.tokenize(model, tokenizer)
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
    from shutil import get_terminal_size
    from textwrap import fill

    width = min(get_terminal_size().columns, LONGEST_LINE)
    for sentence in finished.findings:
        say(fill(sentence, width, initial_indent="- ", subsequent_indent="  "))


def print_study(finished: Study) -> None:
    """Print what the study found in words, and the heads that ablation finds most important."""
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
    say(f"{circuits} different facilitating sets in {len(finished.seeds)} seeds")

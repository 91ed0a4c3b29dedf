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
  chg study --out runs/gpt2 --resume
  chg study --out runs/gpt2 --resume --max_steps 1000 --seeds 20
  chg study --model gpt2 --dataset wikitext --dataset_config wikitext-2-raw-v1 --plan
  chg study --config runs/icl/config.yaml --out runs/icl-again"""

SHOWN = 8


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
        resume=settings.resume,
        command=flat_settings(command),
        show_progress=not settings.quiet,
    )
    print_study(finished)
    say(describe_folder(settings.out))


def print_study(finished: Study) -> None:
    """Print what the study found, in a few lines and a table."""
    table = finished.heads
    counts = table.role.value_counts()
    say("roles: " + ", ".join(f"{count} {role}" for role, count in counts.items()))
    shown = table.sort_values("ablation_score").head(SHOWN)
    print_table(
        "most important heads by ablation (nats per token), scores over seeds",
        ("head", "role", "ablation", "facilitation", "interference"),
        [
            (
                finished.name(row.layer, row.head),
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
    agreement = finished.agreement
    if agreement.redundant:
        groups = [
            " or ".join(finished.name(*head) for head in group.heads)
            for group in agreement.redundant[:SHOWN]
        ]
        say(f"any of these suffices: {'; '.join(groups)}")
    say(f"{len(agreement.circuits)} different facilitating sets in {len(finished.seeds)} seeds")
    for curve in finished.checks:
        say(f"{curve.score}: {curve.verdict}")

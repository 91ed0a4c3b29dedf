"""`chg validate RUN`: the causal check of a study, again or on other rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chg.cli.terminal import Output, print_table, say
from chg.config import CheckConfig
from chg.errors import ConfigError

if TYPE_CHECKING:
    from chg.cli.study_command import StudyCommand
    from chg.report import Study
    from chg.studies import Validation

POSITIONAL = "run"
"""The setting that may be given without its flag, first."""

EXAMPLES = """\
  chg validate runs/gpt2
  chg validate runs/gpt2 --seeds 10 --points 24 --eval_rows 512
  chg validate runs/gpt2 --dataset my_rows.jsonl"""


@dataclass(frozen=True)
class Command:
    """Toggle heads in order of each score, from G+, and say whether its role holds.

    Facilitating heads must cost log-probability when closed, irrelevant ones nothing, and
    interfering ones must gain some (paper, section 4.1).
    """

    check: CheckConfig = field(default_factory=CheckConfig)
    output: Output = field(default_factory=Output)


def run(command: Command) -> None:
    """Check, save and print the verdicts."""
    from chg.cli.inputs import load_checked_model
    from chg.files import ensure_folder
    from chg.report import Study
    from chg.studies import validate

    check = command.check
    finished = Study.load(check.run)
    folder = ensure_folder(check.out or Path(check.run) / "validation")
    called = command_again(finished.manifest.get("command"), check)
    opened = called.open()
    model, tokenizer = load_checked_model(called.model)
    inputs = opened.tokenize(model, tokenizer)
    data, held_out, reference = inputs.data, inputs.held_out, inputs.reference
    if check.dataset is not None:
        held_out = data.sample(called.study.eval_rows, called.study.seed)
    if called.study.ablation == "mean" and reference is None:
        reference = data
    result = validate(
        model,
        finished,
        held_out,
        reference=reference,
        seeds=check.seeds,
        points=check.points,
        tolerance=check.tolerance,
        batch_size=called.study.batch_size,
        show_progress=not command.output.quiet,
    )
    _write_and_print(finished, result, folder)


def _write_and_print(finished: Study, result: Validation, folder: Path) -> None:
    """Write checks.json, faithfulness.json and their pictures, and print the verdicts."""
    from chg.report import save_figures
    from chg.results import CHECKS, FAITHFULNESS, write_checks

    checked = replace(finished, proofs=result.proofs, faithfulness=result.faithfulness)
    write_checks(folder / CHECKS, result.proofs)
    result.faithfulness.save(folder / FAITHFULNESS)
    save_figures(checked, folder, only=("checks", "faithfulness"))
    for curve in result.checks:
        say(f"{curve.score}: {curve.verdict}")
    print_table(
        "rank correlation (Spearman) of scores with measured effects",
        ("score", "effect", "correlation"),
        [(rank.score, rank.effect, f"{rank.spearman:+.2f}") for rank in result.correlations],
    )
    say(result.faithfulness.sentence)
    say(f"wrote checks.json, faithfulness.json and their pictures to {folder}")


def command_again(settings: Mapping[str, Any] | None, check: CheckConfig) -> StudyCommand:
    """The command that made the study, with what is to be different now.

    Raises:
        ConfigError: it was not made by `chg study`, or asks for code that the user does not trust.
    """
    from chg.cli.study_command import StudyCommand

    if not settings:
        raise ConfigError(
            f"{check.run} was not made by `chg study`, so its model and data cannot be loaded "
            "again; call chg.validate(model, study, rows) in Python"
        )
    named = dict(settings)
    if named.get("trust_remote_code") and not check.trust_remote_code:
        raise ConfigError(
            f"the study in {check.run} ran code that comes with its model; if you trust its "
            "authors, give --trust_remote_code"
        )
    if check.eval_rows is not None:
        named["eval_rows"] = check.eval_rows
    if check.dataset is not None:
        named |= {"dataset": check.dataset, "dataset_config": check.dataset_config}
    defaults = StudyCommand()
    sections = {}
    for section in fields(defaults):
        settings_of = getattr(defaults, section.name)
        names = {field.name for field in fields(settings_of)} & named.keys()
        sections[section.name] = replace(settings_of, **{name: named[name] for name in names})
    return StudyCommand(**sections)

"""`chg export RUN`: results of a study in the forms that other tools read."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from chg.cli.terminal import Output, say
from chg.config import ExportConfig

POSITIONAL = "run"
"""The setting that may be given without its flag, first."""

EXAMPLES = """\
  chg export runs/gpt2 --format mib
  chg export runs/gpt2 --format mib --out importances.json"""


@dataclass(frozen=True)
class Command:
    """Write the ranking of a study in the form of another tool.

    mib is the importances.json of the Mechanistic Interpretability Benchmark: a score per head,
    MLPs and input always in, no edges.
    """

    export: ExportConfig = field(default_factory=ExportConfig)
    output: Output = field(default_factory=Output)


def run(command: Command) -> None:
    """Export, and say where to."""
    from chg.export import save_mib
    from chg.files import ensure_writable
    from chg.results import StudyResults

    settings = command.export
    study = StudyResults.load(settings.run)
    out = ensure_writable(settings.out or Path(settings.run) / "importances.json")
    save_mib(study, out)
    say(f"wrote the ranking by {study.ranking_name} to {out}")

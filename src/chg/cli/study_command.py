"""Settings of a study on the command line, which `chg validate` and `chg demo` share with it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from chg.cli.inputs import OpenedInputs, for_metric, open_inputs
from chg.cli.terminal import Output
from chg.config import DataConfig, ModelConfig, ReferenceData, StudyConfig


@dataclass(frozen=True)
class StudyOutput(Output):
    """Folder of a study, and whether to go on with it."""

    out: str = "runs/study"
    """Folder for gates, metrics, tables and the report; an existing one is never overwritten."""
    title: str | None = None
    """Name of the study in pictures and the page; model and data if not given."""
    resume: bool = False
    """Go on with the study in --out, with the settings that it has: one that was stopped, to the
    same numbers, or a finished one to more --max_steps or --seeds."""
    plan: bool = False
    """Say how long the study would take and how much memory, and write nothing."""


@dataclass(frozen=True)
class StudyCommand:
    """Find out what every head does for a task, with many seeds, and prove it.

    Fits G0, G+ and G- from many starting points side by side, ablates every head, checks the scores
    causally on held-out rows, and leaves one folder with tables, gates and report.html.
    """

    output: StudyOutput = field(default_factory=StudyOutput)
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    study: StudyConfig = field(default_factory=StudyConfig)
    reference: ReferenceData = field(default_factory=ReferenceData)

    def open(self) -> OpenedInputs:
        """Open rows to fit and to measure on, and reference rows if there are any."""
        return open_inputs(
            for_metric(self.data, self.study.metric),
            self.study.ablation,
            self.study.seed,
            reference=self.reference,
            held_out=self.study.eval_rows,
        )


def describe_folder(folder: str | Path) -> str:
    """The files of a study's folder, a line each."""
    return (
        f"\nEverything is in {folder}:\n"
        "  report.html        all of it, to open in a browser\n"
        "  heads.csv          every head with scores, intervals and role (also heads.parquet)\n"
        "  gates.safetensors  logits of every seed and stage\n"
        "  figures            every picture as PNG and PDF\n"
        "  manifest.json      what was run; metrics.jsonl every update; checks.json the check;\n"
        "                     faithfulness.json what the first heads of each ranking do alone\n"
        "  config.yaml        every setting; chg study --config repeats it\n"
        "  continue           what --resume --max_steps and --seeds go on from; may be deleted"
    )

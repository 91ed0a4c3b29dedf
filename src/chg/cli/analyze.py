"""`chg analyze`: from results on disk to a folder of pictures, a ranking and a summary."""

from __future__ import annotations

from dataclasses import dataclass, field

from chg.cli.terminal import Output, say
from chg.config import AnalysisConfig

EXAMPLES = """\
  chg analyze --results ablation_results.json --gates gates_init.pt --output_dir analysis_output
  chg analyze --gates_retention gates_retention.pt --gates_removal gates_removal.pt"""


@dataclass(frozen=True)
class Command:
    """Turn ablation results and gate files into pictures, a ranking and a summary.

    Writes importance_heatmap.png, layer_importance.png, gate_distribution.png, head_rankings.csv
    and summary_report.txt; with both fits also every head's role and role_map.png.
    """

    analysis: AnalysisConfig = field(default_factory=AnalysisConfig)
    output: Output = field(default_factory=Output)


def run(command: Command) -> None:
    """Analyse and say where everything is."""
    from pathlib import Path

    from chg.report import analyze

    analysis = analyze(command.analysis)
    if command.output.quiet:
        return
    folder = Path(command.analysis.output_dir)
    top = analysis.rankings.iloc[0]
    name = analysis.result.name(int(top.layer), int(top["head"]))
    say(f"most important head: {name} ({top.score:+.4f} nats per token)")
    if analysis.taxonomy is not None:
        counts = analysis.rankings.role.value_counts()
        say("roles: " + ", ".join(f"{count} {role}" for role, count in counts.items()))
    say(f"wrote pictures, head_rankings.csv and summary_report.txt to {folder}")

"""Settings of exports."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from chg.config.choices import Settings

ExportFormat = Literal["mib"]
"""Form of an export.

mib: the importances.json of the Mechanistic Interpretability Benchmark, at node level."""


@dataclass(frozen=True)
class ExportConfig(Settings):
    """The study, and the form that it is written in."""

    run: str = "runs/study"
    """Folder of a finished study."""
    format: ExportFormat = "mib"
    """Form to write."""
    out: str | None = None
    """File to write; importances.json in the study's folder if not given."""

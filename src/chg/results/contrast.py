"""Results of contrastive fits on disk: JSON, typed and versioned."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chg.errors import ResultsError
from chg.files import read_json, write_json
from chg.results.schema import Count, read_record

FORMAT_VERSION = 1
KIND = "a contrastive result as `chg contrast` writes it"
"""Name of a results file in error messages."""

FORGOTTEN_AT_LEAST = 0.1
RETAINED_AT_LEAST = 0.5
"""Shares of the ungated probability below which a warning says that a side failed."""


@dataclass(frozen=True)
class SideMetrics:
    """Metrics of one side on held-out rows: NLL in nats per token, accuracy as a share of tokens.

    Before: without gates. After: with gates. Thresholded: with gates cut to 0 or 1.
    """

    nll_before: float
    nll_after: float
    nll_thresholded: float
    accuracy_before: float
    accuracy_after: float
    accuracy_thresholded: float

    @property
    def kept(self) -> float:
        """Typical probability of a target with gates, as a share of that without; at most 1."""
        return math.exp(min(0.0, self.nll_before - self.nll_after))


@dataclass(frozen=True)
class ContrastFit:
    """Effect of one gate matrix, of those fitted side by side, on both sides."""

    alpha: float
    start: Count
    """Counted from 0."""
    seed: int
    """Seed of the starting gates."""
    retain: SideMetrics
    forget: SideMetrics
    unseen_retain: SideMetrics | None = None
    """The retain side of a task that was left out of fitting."""
    unseen_forget: SideMetrics | None = None

    def sides(self, *, unseen: bool = False) -> tuple[SideMetrics, SideMetrics]:
        """Metrics of the retain and the forget side, of seen tasks or of the one left out.

        Raises:
            ResultsError: no task was left out of fitting.
        """
        if not unseen:
            return self.retain, self.forget
        if self.unseen_retain is None or self.unseen_forget is None:
            raise ResultsError("no task was left out of fitting, so there is none to compare with")
        return self.unseen_retain, self.unseen_forget

    @property
    def merit(self) -> tuple[float, float]:
        """Sort key on seen tasks: the weaker of retaining and forgetting, then the objective."""
        objective = self.alpha * self.forget.nll_after - self.retain.nll_after
        if self.alpha == 0:
            return 0.0, objective
        return min(self.retain.kept, 1 - self.forget.kept), objective

    @property
    def warnings(self) -> tuple[str, ...]:
        """A sentence for each side that the fit failed at, on seen tasks, with what to do."""
        sentences = []
        if self.alpha > 0 and 1 - self.forget.kept < FORGOTTEN_AT_LEAST:
            sentences.append(
                "nothing was forgotten: the forget side is as likely as before; try a larger "
                "--alpha, a --lambda_reg above 0, or more --starts"
            )
        if self.retain.kept < RETAINED_AT_LEAST:
            sentences.append(
                "the retain side was lost: less than half of its probability is left; try a "
                "smaller --alpha, or a --lambda_reg below 0"
            )
        return tuple(sentences)


@dataclass(frozen=True)
class ContrastRun:
    """All fits of one direction on the same rows."""

    fits: tuple[ContrastFit, ...]
    best: Count
    """Index in `fits` of the fit whose gates are kept."""
    warnings: tuple[str, ...] = ()
    reversed: bool = False
    """True where the data given as forget was retained, and that given as retain forgotten."""
    held_out_task: str | None = None
    updates: Count = 0
    seconds: float = 0.0
    """Time of fitting; of both directions together, since these share their passes."""

    def __repr__(self) -> str:
        best = self.fits[self.best]
        return (
            f"<ContrastRun of {len(self.fits)} fits{', reversed' if self.reversed else ''}: the "
            f"best keeps {best.retain.kept:.0%} of retain and {best.forget.kept:.0%} of forget>"
        )

    @property
    def alphas(self) -> tuple[float, ...]:
        """Every weight of forgetting once, ascending."""
        return tuple(sorted({fit.alpha for fit in self.fits}))

    def at(self, alpha: float) -> tuple[ContrastFit, ...]:
        """The fits of one alpha, a start each."""
        return tuple(fit for fit in self.fits if fit.alpha == alpha)

    @property
    def curve(self) -> tuple[ContrastFit, ...]:
        """The trade-off: the best start of each alpha, ascending."""
        return tuple(max(self.at(alpha), key=lambda fit: fit.merit) for alpha in self.alphas)


@dataclass(frozen=True)
class ContrastResults:
    """Runs of one command, one for each direction and each task held out."""

    runs: tuple[ContrastRun, ...]
    metadata: dict[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        fits = sum(len(run.fits) for run in self.runs)
        model, retain, forget = (
            self.metadata.get(name, "?") for name in ("model", "dataset", "forget_dataset")
        )
        return (
            f"<ContrastResults of {model}, {retain} against {forget}: {len(self.runs)} runs, "
            f"{fits} fits>"
        )

    def save(self, path: str | Path) -> Path:
        """Write the results as JSON, atomically; returns the path.

        Raises:
            OutputError: `path` cannot be written.
        """
        content = {"format_version": FORMAT_VERSION, **dataclasses.asdict(self)}
        write_json(path, content, allow_nan=False)
        return Path(path)

    @classmethod
    def load(cls, path: str | Path) -> ContrastResults:
        """Read a results file.

        Raises:
            ResultsError: the file is missing, damaged or not a contrastive result.
        """
        path = Path(path)
        if not path.is_file():
            raise ResultsError(f"results file {path} does not exist; make one with `chg contrast`")
        content = read_json(path, KIND)
        content.pop("format_version", None)
        results = read_record(cls, content, path, KIND)
        for i, run in enumerate(results.runs):
            if run.best >= len(run.fits):
                raise ResultsError(
                    f"{path} is not {KIND}: runs[{i}].best is {run.best}, of {len(run.fits)} fits"
                )
        return results


def mean_and_spread(values: Sequence[float]) -> tuple[float, float]:
    """Mean and sample standard deviation; the latter is 0 for a single value."""
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else 0.0

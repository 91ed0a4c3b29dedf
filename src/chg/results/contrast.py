"""Results of contrastive fits on disk: JSON, typed and versioned."""

from __future__ import annotations

import dataclasses
import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chg.errors import ResultsError
from chg.files import atomic_path

FORMAT_VERSION = 1

FORGOTTEN_AT_LEAST = 0.1
RETAINED_AT_LEAST = 0.5
"""Shares of the ungated probability below which a warning says that a side failed."""


@dataclass(frozen=True)
class SideMetrics:
    """One side on held-out rows: NLL in nats per token, accuracy as a share of target tokens."""

    nll_before: float
    nll_after: float
    nll_thresholded: float
    accuracy_before: float
    accuracy_after: float
    accuracy_thresholded: float

    @property
    def kept(self) -> float:
        """Typical probability of a target after, as a share of that before; at most 1."""
        return min(1.0, math.exp(self.nll_before - self.nll_after))


@dataclass(frozen=True)
class ContrastFit:
    """One of the gate matrices fitted side by side, and what it does to both sides."""

    alpha: float
    start: int
    """Counted from 0."""
    seed: int
    """Seed of its starting gates."""
    retain: SideMetrics
    forget: SideMetrics
    unseen_retain: SideMetrics | None = None
    """The retain side of a task that was left out of fitting."""
    unseen_forget: SideMetrics | None = None

    @property
    def merit(self) -> tuple[float, float]:
        """The weaker of retaining and forgetting, then the objective itself; of seen tasks."""
        objective = self.alpha * self.forget.nll_after - self.retain.nll_after
        if self.alpha == 0:
            return 0.0, objective
        return min(self.retain.kept, 1 - self.forget.kept), objective

    @property
    def warnings(self) -> tuple[str, ...]:
        """Which of its two jobs it failed at, and what to do; of seen tasks."""
        found = []
        if self.alpha > 0 and 1 - self.forget.kept < FORGOTTEN_AT_LEAST:
            found.append(
                "nothing was forgotten: the forget side is as likely as before; try a larger "
                "--alpha, a --lambda_reg above 0, or more --starts"
            )
        if self.retain.kept < RETAINED_AT_LEAST:
            found.append(
                "the retain side was lost: less than half of its probability is left; try a "
                "smaller --alpha, or a --lambda_reg below 0"
            )
        return tuple(found)


@dataclass(frozen=True)
class ContrastRun:
    """All fits of one direction on the same rows."""

    fits: tuple[ContrastFit, ...]
    best: int
    """Place in `fits` of the one whose gates are kept."""
    warnings: tuple[str, ...] = ()
    reversed: bool = False
    """Whether the data given as forget was retained, and that given as retain forgotten."""
    held_out_task: str | None = None
    updates: int = 0
    seconds: float = 0.0
    """Of fitting; both directions together, since they share their passes."""

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
    """What a command fitted: a run for each direction and each task held out."""

    runs: tuple[ContrastRun, ...]
    metadata: dict[str, Any] = field(default_factory=dict)

    def save(self, path: str | Path) -> Path:
        """Write as JSON, atomically.

        Raises:
            OutputError: `path` cannot be written.
        """
        content = {"format_version": FORMAT_VERSION, **dataclasses.asdict(self)}
        with atomic_path(path) as temporary:
            text = json.dumps(content, indent=1, allow_nan=False)
            temporary.write_text(text + "\n", encoding="utf-8")
        return Path(path)

    @classmethod
    def load(cls, path: str | Path) -> ContrastResults:
        """Read a results file.

        Raises:
            ResultsError: it is missing, damaged or not a contrastive result.
        """
        path = Path(path)
        if not path.is_file():
            raise ResultsError(f"results file {path} does not exist; make one with `chg contrast`")
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            return cls(tuple(_run(run) for run in content["runs"]), content["metadata"])
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            raise ResultsError(
                f"{path} is not a contrastive result as `chg contrast` writes it: {error}"
            ) from error


def _run(content: dict[str, Any]) -> ContrastRun:
    fits = tuple(_fit(fit) for fit in content["fits"])
    return ContrastRun(**{**content, "fits": fits, "warnings": tuple(content["warnings"])})


def _fit(content: dict[str, Any]) -> ContrastFit:
    sides = {
        name: content[name] and SideMetrics(**content[name])
        for name in ("retain", "forget", "unseen_retain", "unseen_forget")
    }
    return ContrastFit(**{**content, **sides})


def mean_and_spread(values: Sequence[float]) -> tuple[float, float]:
    """Mean and standard deviation (of the sample; 0 for a single value)."""
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else 0.0

"""Tables and files of `chg contrast`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from chg.cli.terminal import format_number, print_table, say
from chg.files import ensure_writable, name_part
from chg.fitting import ContrastResult
from chg.models import WEIGHTS
from chg.results import ContrastResults, ContrastRun, SideMetrics, mean_and_spread

logger = logging.getLogger(__name__)


DESCRIBED = (
    "model",
    "revision",
    "architecture",
    "dtype",
    *WEIGHTS,
    "dataset",
    "forget_dataset",
    "versions",
)
"""Entries of a gate file's metadata that the results of all fits carry as well."""


class ContrastFiles:
    """The files of one command, all named after its gate file."""

    def __init__(self, out: str, settings: dict[str, Any]) -> None:
        """Prove that they can be written.

        Raises:
            OutputError: they cannot.
        """
        self._out = ensure_writable(out)
        self._settings = settings
        self._results: list[ContrastResult] = []

    def write(self, result: ContrastResult, *, apart: bool) -> None:
        """Write the gates of each direction, and the picture of the trade-off if there is one.

        With `apart`, under the name of the task held out, one of several.
        """
        out = self._out
        if apart:
            task = name_part(result.run.held_out_task or "")
            out = out.with_name(f"{out.stem}.{task}{out.suffix}")
        self._results.append(result)
        runs = [result.run]
        self._save(result, out)
        if result.reversed is not None:
            runs.append(result.reversed.run)
            self._save(result.reversed, out.with_name(f"{out.stem}.reversed{out.suffix}"))
        if len(result.run.alphas) > 1:
            from chg.report import save_tradeoff

            picture = out.with_name(f"{out.stem}.tradeoff.png")
            save_tradeoff(runs, picture)
            say(f"wrote {picture}")

    def _save(self, result: ContrastResult, path: Path) -> None:
        metadata = {**result.gates.metadata, "configuration": self._settings}
        replace(result.gates, metadata=metadata).save(path)
        say(f"wrote {path}")

    def write_results(self) -> None:
        """Write every fit's figures, where there is more to tell than the terminal did."""
        directions = [direction for result in self._results for direction in _directions(result)]
        runs = [direction.run for direction in directions]
        if len(runs) == 1 and runs[0].held_out_task is None and len(runs[0].alphas) == 1:
            return
        described = [direction.gates.metadata for direction in directions]
        metadata = {name: described[0][name] for name in DESCRIBED}
        metadata["configuration"] = self._settings
        metadata["competence"] = [of_run["competence"] for of_run in described]
        path = self._out.with_name(f"{self._out.stem}.contrast.json")
        say(f"wrote {ContrastResults(tuple(runs), metadata).save(path)}")


def _directions(result: ContrastResult) -> list[ContrastResult]:
    """The result, and that of the other direction where both were fitted."""
    return [result] if result.reversed is None else [result, result.reversed]


def print_result(result: ContrastResult) -> None:
    """Print the results of the fits of one set of passes."""
    for direction in _directions(result):
        _print_run(direction, both=result.reversed is not None)
    run = result.run
    fits = len(run.fits) * (1 if result.reversed is None else 2)
    of_what = "starts" if fits == len(run.at(run.alphas[0])) else "fits"
    say(f"{run.updates} updates of {fits} {of_what} in {run.seconds:.1f} s")


def warn(result: ContrastResult) -> None:
    """Log the warnings of the fits that are kept."""
    for direction in _directions(result):
        task = direction.run.held_out_task
        where = f" (without {task})" if task else ""
        where += " (reversed)" if direction.run.reversed else ""
        for warning in direction.warnings:
            logger.warning("warning%s: %s", where, warning)


def _print_run(result: ContrastResult, *, both: bool) -> None:
    run, best = result.run, result.best
    if both:
        metadata = result.gates.metadata
        say(f"\nretain {metadata['dataset']}, forget {metadata['forget_dataset']}")
    seen = "held-out rows" if run.held_out_task is None else "held-out rows of fitted tasks"
    unseen = f"task {run.held_out_task}, left out of fitting"
    _print_sides(seen, best.retain, best.forget)
    if best.unseen_retain is not None and best.unseen_forget is not None:
        _print_sides(unseen, best.unseen_retain, best.unseen_forget)
    if len(run.alphas) > 1:
        _print_curve(seen, run)
        if best.unseen_retain is not None:
            _print_curve(unseen, run, unseen=True)
    say(f"gates: {result.gates.counts}")
    starts = run.at(best.alpha)
    at_alpha = f", at alpha {best.alpha:g}" if len(run.alphas) > 1 else ""
    say(f"start {best.start + 1} of {len(starts)} (seed {best.seed}) was best{at_alpha}")
    if len(starts) > 1:
        say(
            f"over starts{at_alpha}: retain accuracy {_over([fit.retain for fit in starts])}, "
            f"forget accuracy {_over([fit.forget for fit in starts])}"
        )


def _print_sides(title: str, retain: SideMetrics, forget: SideMetrics) -> None:
    rows = []
    for name, side in (("retain", retain), ("forget", forget)):
        nlls = (side.nll_before, side.nll_after, side.nll_thresholded)
        accuracies = (side.accuracy_before, side.accuracy_after, side.accuracy_thresholded)
        rows.append((f"{name} NLL", *(format_number(nll) for nll in nlls)))
        rows.append((f"{name} accuracy", *(f"{accuracy:.1%}" for accuracy in accuracies)))
    print_table(title, ("", "before", "gated", "gates cut at 0.5"), rows)


def _print_curve(title: str, run: ContrastRun, *, unseen: bool = False) -> None:
    """Print for each alpha the best start's accuracies, and the mean and spread of all starts'."""
    rows = []
    for best in run.curve:
        row = [f"{best.alpha:g}"]
        for side in (0, 1):
            starts = [fit.sides(unseen=unseen)[side] for fit in run.at(best.alpha)]
            chosen = best.sides(unseen=unseen)[side]
            row += [f"{chosen.accuracy_after:.1%}", _over(starts)]
        rows.append(row)
    columns = ("alpha", "retain, best", "all starts", "forget, best", "all starts")
    print_table(f"accuracy, {title}", columns, rows)


def _over(sides: Sequence[SideMetrics]) -> str:
    mean, spread = mean_and_spread([side.accuracy_after for side in sides])
    return f"{mean:.1%} \u00b1 {spread:.1%}"

"""Findings of a comparison in words, with the figures that a reader can quote."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from chg.config import METRIC_WORDS
from chg.files import counted
from chg.report.findings import NAMED, Ground, more
from chg.results import (
    FEWEST_SEEDS,
    SIGNIFICANT,
    UNDECIDED,
    ComparedRun,
    ComparisonResults,
    Likeness,
    RunPair,
)

SETTINGS: dict[str, Callable[[ComparedRun], str]] = {
    "models": lambda run: run.weights_told,
    "data": lambda run: run.data,
    "metrics": lambda run: METRIC_WORDS[run.metric].name,
    "kinds of ablation": lambda run: run.ablation,
    "recipes": lambda run: run.recipe,
    "updates (G0, and G+ and G-)": lambda run: run.updates,
}
"""Settings in which runs may differ, and where a run has them."""


def comparison_grounds(comparison: ComparisonResults) -> tuple[Ground, ...]:
    """Say what differs between the runs themselves, and what takes the grounds from them."""
    differing = [
        Ground(f"The {setting} differ: {_by_run(comparison.runs, told)}.", False)
        for setting, told in SETTINGS.items()
        if len({told(run) for run in comparison.runs}) > 1
    ]
    doubts = [
        Ground(f"{run.name}: {doubt}", True) for run in comparison.runs for doubt in run.doubts
    ]
    return (
        *doubts,
        *(differing or [Ground("All runs have the same model, data and settings.", False)]),
    )


def _by_run(runs: Sequence[ComparedRun], told: Callable[[ComparedRun], str]) -> str:
    return "; ".join(f"{run.name} {told(run)}" for run in runs)


def pair_findings(comparison: ComparisonResults, pair: RunPair) -> tuple[str, ...]:
    """Say what two runs share, which heads differ, and which roles change."""
    found = (
        _likeness(comparison, pair, "overlap"),
        _likeness(comparison, pair, "correlation"),
        _differing(comparison, pair),
        _changed(comparison, pair),
        _ablation(comparison, pair),
    )
    return tuple(f"{sentence[0].upper()}{sentence[1:]}" for sentence in found)


def interval(likeness: Likeness) -> str:
    """Mean with its interval, `0.31 (95 % interval 0.20 to 0.42)`; the mean alone without one."""
    if not likeness.pairs:
        return "not defined"
    if not likeness.has_interval:
        return f"{likeness.mean:.2f}"
    return f"{likeness.mean:.2f} (95 % interval {likeness.low:.2f} to {likeness.high:.2f})"


def _likeness(comparison: ComparisonResults, pair: RunPair, measure: str) -> str:
    words = {
        "overlap": ("facilitating heads overlap by {} (Jaccard)", pair.overlap_p),
        "correlation": ("facilitation has a rank correlation of {}", pair.correlation_p),
    }
    said, p = words[measure]
    text = said.format(interval(getattr(pair, measure))) + " between a seed of each"
    within = [
        f"{interval(getattr(run, measure))} in {run.name}"
        for run in map(comparison.run, (pair.left, pair.right))
        if getattr(run, measure).pairs
    ]
    if not within:
        return f"{text}; with one seed in each there is nothing to hold that against."
    text += f"; between two seeds of one run, {' and '.join(within)}"
    return f"{text}." if np.isnan(p) else f"{text}. {_less(p, pair.deals)}"


def _less(p: float, deals: int) -> str:
    """Say whether two runs share less than their seeds do, a sentence."""
    if p < SIGNIFICANT:
        return f"Runs share less than seeds do (p {p:.2g})."
    least = 1 / (1 + deals)
    if least >= SIGNIFICANT:
        return f"Runs with so few seeds cannot be told apart by this alone (p {p:.2g})."
    return f"Runs do not share less than seeds do (p {p:.2g})."


def _differing(comparison: ComparisonResults, pair: RunPair) -> str:
    differing = comparison.ranked(pair, "differs")
    if differing.empty and not comparison.largest_change(pair).any():
        return "no head differs."
    if not pair.said_of_heads:
        return (
            f"no single head can be said to differ, which takes {FEWEST_SEEDS} seeds or more of "
            "each run."
        )
    dealt = f"the same was counted after other deals of the seeds: {pair.by_chance:.2g} on average"
    if differing.empty:
        text = "no head differs by more than the seeds of either run do"
        if not pair.passing:
            return f"{text}."
        return f"{text}: {counted(pair.passing, 'head')} would pass the test, but {dealt}."
    named = ", ".join(
        f"{comparison.name(row['layer'], row['head'])} {_change(pair, row)}"
        for row in differing.head(NAMED).to_dict("records")
    )
    verb = "differs" if len(differing) == 1 else "differ"
    return (
        f"{len(differing)} of {len(comparison.heads)} heads {verb} by more than the seeds of "
        f"either run do: {named}{more(len(differing))}. Gates near 0 and 1 make a t test rough, "
        f"so {dealt}."
    )


def _change(pair: RunPair, row: dict[str, object]) -> str:
    """The larger of a head's changes, `facilitation 0.02 to 0.93`."""
    sizes = {
        score: abs(float(str(row[pair.column(f"{score}_change")])))
        for score in ("facilitation", "interference")
    }
    score = max(sizes, key=lambda name: sizes[name])
    means = (f"{row[f'{score}_mean_{name}']:.2f}" for name in (pair.left, pair.right))
    return f"{score} {' to '.join(means)}"


def _changed(comparison: ComparisonResults, pair: RunPair) -> str:
    heads = comparison.heads
    changed = heads[heads[pair.column("changed")]]
    roles = [heads[f"role_{name}"] for name in (pair.left, pair.right)]
    open_ = int(((roles[0] == UNDECIDED) | (roles[1] == UNDECIDED)).sum())
    if changed.empty:
        text = "no role changes"
    else:
        kinds = changed.groupby([f"role_{pair.left}", f"role_{pair.right}"]).size()
        listed = ", ".join(
            f"{count} {before} to {after}"
            for (before, after), count in kinds.sort_values(ascending=False).items()
        )
        sure = int((changed[pair.column("differs")]).sum())
        verb = "changes its role" if len(changed) == 1 else "change their role"
        text = (
            f"{counted(len(changed), 'head')} {verb} ({listed}), {sure} of them among the heads "
            "that differ"
        )
    if open_:
        others = "" if changed.empty else " more"
        text += f"; {open_}{others} {'is' if open_ == 1 else 'are'} undecided in a run"
    return f"{text}."


def _ablation(comparison: ComparisonResults, pair: RunPair) -> str:
    if not comparison.compares_ablation(pair):
        return "ablation scores are not compared: they measure different things."
    changed = comparison.ablated_otherwise(pair)
    left, right = comparison.run(pair.left), comparison.run(pair.right)
    same = left.held_out_mark is not None and left.held_out_mark == right.held_out_mark
    rows = (
        "on the same rows, whose errors go together, so that the test is a careful one"
        if same
        else "on other rows, whose errors are independent"
    )
    scores = [f"ablation_score_{name}" for name in (pair.left, pair.right)]
    named = ", ".join(
        f"{comparison.name(row['layer'], row['head'])} "
        f"{' to '.join(f'{row[score]:+.3f}' for score in scores)}"
        for row in changed.head(NAMED).to_dict("records")
    )
    return (
        f"ablating a head alone has another effect for {len(changed)} of {len(comparison.heads)} "
        f"heads (q below {SIGNIFICANT:g}){f': {named}' if named else ''}{more(len(changed))}; "
        f"measured {rows}."
    )

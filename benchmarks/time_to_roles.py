"""Passes that a study needs until its roles are those of a far longer one.

    python benchmarks/time_to_roles.py --quick                     # one task, under two minutes
    python benchmarks/time_to_roles.py                             # all tasks, hours
    python benchmarks/time_to_roles.py --dataset builtin:icl --also batch_size=16,max_steps=100
    python benchmarks/time_to_roles.py --model FILE.gguf --dataset task:ioi --seeds 1 --factor 1

The reference is a study of the longer settings with `--factor` times their updates, from other
starting points. Two studies of the longer settings, which share no starting point either, say how
near to it they come, and to each other: no study can be expected to come nearer. A row-pass is a
row's forward and backward pass under one gate matrix.
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
import yaml
from matplotlib.ticker import LogLocator, NullLocator
from rich.console import Console
from rich.table import Table

import chg
from chg.data import TokenData, split_held_out
from chg.report import Study
from chg.results import rank_correlation
from chg.selftest.planted import copy_rows, planted_model

TASKS = ("builtin:icl", "builtin:instruction", "builtin:aba", "builtin:copy", "planted")
LONGER: dict[str, Any] = {
    "seeds": 10,
    "initial_steps": 500,
    "max_steps": 500,
    "batch_size": 16,
    "lr": 0.0125,
    "lr_pushed": 0.0625,
}
"""Settings of a study before the standard recipe: as many updates as published, of 16 rows."""
MEASURED: dict[str, Any] = {
    "eval_rows": 16,
    "check_seeds": 0,
    "patterns": False,
    "seeds_per_batch": 20,
}
"""Settings that keep short what is no fit."""
SHARES = (0.1, 0.2, 0.5, 1.0)
"""Shares of the updates at which the curve of a recipe is measured; each is a study of its own."""


@dataclass(frozen=True)
class Case:
    """A model and rows, and how much is to be run on them."""

    name: str
    model: Any
    rows: TokenData
    held_out: TokenData
    seeds: int | None
    """Starting points of every study, in place of those of its recipe."""
    factor: float
    """Updates of the reference, as a multiple of the longer settings'."""
    shares: tuple[float, ...]
    paper: bool
    """Whether to run the published recipe, which is by far the longest."""
    others: tuple[str, ...]
    """Further settings to compare, each as `name=value,name=value`, at all of their updates."""


@dataclass(frozen=True)
class Run:
    """A study, and what its fits cost."""

    name: str
    study: Study
    passes: int
    """Row-passes."""
    seconds: float

    def agreement(self, other: Run) -> tuple[float, float]:
        """Share of heads with the same role, and rank correlation of facilitation."""
        roles = [run.study.heads["role"].to_numpy(str) for run in (self, other)]
        scores = [run.study.heads["facilitation_mean"].to_numpy() for run in (self, other)]
        return float(np.mean(roles[0] == roles[1])), rank_correlation(*scores)


def run(case: Case, name: str, first_seed: int, **settings: Any) -> Run:
    """Run a study from starting points of its own."""
    own = {} if case.seeds is None else {"seeds": case.seeds}
    config = chg.StudyConfig(**{**settings, **own, **MEASURED}, seed=first_seed)
    began = time.perf_counter()
    found = chg.study(case.model, case.rows, config, held_out=case.held_out, show_progress=False)
    updates = sum(
        int(found.metrics_of(stage).groupby("seed").step.max().sum())
        for stage in ("initial", "retention", "removal")
    )
    spent = found.manifest["times"]
    fits = spent["initial"] + spent["retention and removal"]
    done = Run(name, found, updates * config.batch_size, fits)
    Console(stderr=True).print(
        f"{case.name}, {name}: {done.passes:,} row-passes, {time.perf_counter() - began:.0f} s"
    )
    return done


def runs_of(case: Case) -> Iterator[tuple[str, list[Run]]]:
    """Run every recipe at each share of its updates; the reference first."""
    longer = chg.StudyConfig(**LONGER)
    reference = scaled(LONGER, longer, case.factor)
    yield "reference", [run(case, "reference", 1000, **reference)]
    yield "longer settings, others", [run(case, "longer settings, others", 2000, **LONGER)]
    recipes: dict[str, dict[str, Any]] = {"standard": {}, "longer settings": LONGER}
    if case.paper:
        recipes["paper"] = {"recipe": "paper"}
    for i, (name, settings) in enumerate(recipes.items()):
        config = chg.StudyConfig(**settings)
        found = []
        for share in case.shares:
            shorter = scaled(settings, config, share)
            found.append(run(case, f"{name}, {share:.0%}", 3000 + 100 * i, **shorter))
        yield name, found
    for i, text in enumerate(case.others):
        yield text, [run(case, text, 4000 + 100 * i, **settings_of(text))]


def settings_of(text: str) -> dict[str, Any]:
    """Read `name=value,name=value`."""
    pairs = (part.split("=") for part in text.split(","))
    return {name: yaml.safe_load(value) for name, value in pairs}


def scaled(settings: dict[str, Any], config: chg.StudyConfig, factor: float) -> dict[str, Any]:
    """Settings with a multiple of the updates that they give."""
    assert config.max_steps is not None
    return {
        **settings,
        "initial_steps": max(1, round(config.initial_steps * factor)),
        "max_steps": max(5, round(config.max_steps * factor)),
    }


def cases(options: argparse.Namespace) -> Iterator[Case]:
    """Open the models and rows that were asked for."""
    measured: dict[str, Any] = {
        "seeds": 1 if options.quick and options.seeds is None else options.seeds,
        "factor": options.factor or (0.5 if options.quick else 4.0),
        "shares": (0.5, 1.0) if options.quick else SHARES,
        "paper": not (options.quick or options.no_paper),
        "others": tuple(options.also or ()),
    }
    names = options.dataset or (TASKS[:1] if options.quick else TASKS)
    model, tokenizer = chg.load_model(options.model)
    for name in names:
        if name == "planted":
            yield Case(name, planted_model(), copy_rows(256), copy_rows(64, 5), **measured)
            continue
        rows, held_out = split_held_out(chg.load_data(name, tokenizer))
        yield Case(name, model, rows, held_out, **measured)


def show(case: Case, runs: dict[str, list[Run]]) -> None:
    """Print how near every study comes to the reference, and to one of the longer settings."""
    table = Table(title=f"{case.name}: agreement with the reference", title_justify="left")
    for column in ("study", "row-passes", "of the longer", "seconds", "roles", "facilitation"):
        table.add_column(column)
    (reference,), (other,) = runs["reference"], runs["longer settings, others"]
    for one in (found for some in runs.values() for found in some):
        if one is reference:
            continue
        roles, scores = one.agreement(reference)
        table.add_row(
            one.name,
            f"{one.passes:,}",
            f"{one.passes / other.passes:.3f}",
            f"{one.seconds:.0f}",
            f"{roles:.1%}",
            f"{scores:.3f}",
        )
    roles, scores = runs["longer settings"][-1].agreement(other)
    table.add_row("longer settings, both", "", "", "", f"{roles:.1%}", f"{scores:.3f}")
    Console(width=110).print(table)


def draw(results: list[tuple[Case, dict[str, list[Run]]]], path: Path) -> None:
    """Draw the curves of agreement against row-passes, a row of pictures per case."""
    figure, axes = plt.subplots(
        len(results), 2, figsize=(9, 2.6 * len(results)), squeeze=False, layout="constrained"
    )
    for (case, runs), row in zip(results, axes, strict=True):
        (reference,), (other,) = runs["reference"], runs["longer settings, others"]
        for axis, part, what in zip(row, (0, 1), ("same roles", "rank correlation"), strict=True):
            for name in ("standard", "longer settings", "paper"):
                found = runs.get(name, [])
                points = [(one.passes, one.agreement(reference)[part]) for one in found]
                if points:
                    axis.plot(*zip(*points, strict=True), marker="o", markersize=3, label=name)
            bar = other.agreement(reference)[part]
            axis.axhline(bar, color="0.6", linewidth=1, label="longer settings, other starts")
            axis.set(xscale="log", title=f"{case.name}, {what}", xlabel="row-passes")
            axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.xaxis.set_major_formatter("{x:,.0f}")
            axis.xaxis.set_minor_locator(NullLocator())
    axes[0, 0].legend(frameon=False)
    figure.savefig(path)


def main() -> None:
    """Run the studies of every case, print its table, and draw its curves."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one task, one starting point")
    parser.add_argument("--model", default="builtin:tiny")
    parser.add_argument("--dataset", action="append", help="one or more; all built-in if none")
    parser.add_argument("--seeds", type=int, help="starting points of every study")
    parser.add_argument("--factor", type=float, help="updates of the reference, of the longer's")
    parser.add_argument("--also", action="append", help="further settings, as batch_size=4,lr=0.01")
    parser.add_argument("--no_paper", action="store_true", help="without the published recipe")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--figure", type=Path, help="file to draw the curves in")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    logging.getLogger("chg").setLevel(logging.ERROR)
    results = []
    for case in cases(options):
        runs = dict(runs_of(case))
        show(case, runs)
        results.append((case, runs))
    if options.figure:
        draw(results, options.figure)


if __name__ == "__main__":
    main()

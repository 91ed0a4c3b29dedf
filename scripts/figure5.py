"""The paper's figure 5 on the built-in model: does what was retained or forgotten carry over?

1. The six word tasks are asked in two formats, shown by examples and named by an instruction
   (`builtin:format`).
2. Each task is held out in turn; gates are fitted on the other five, to retain one format and
   forget the other: in both directions, from several seeds and with several alphas side by side.
3. Of each seed the alpha is kept that does best on held-out rows of the five.
4. The held-out task is measured in both formats, under every seed's gates.

    python scripts/figure5.py --picture docs/images/contrast_held_out_task.png
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

import chg
from chg.results.contrast import ContrastFit, ContrastRun, SideMetrics, mean_and_spread

MODEL, TUPLES = "builtin:tiny", "builtin:format"
RETAINED, FORGOTTEN = "#0072B2", "#D55E00"
"""Okabe and Ito's blue and vermillion, told apart by all common kinds of colour vision."""
FORMATS = ("examples", "instruction")

Measured = Callable[[ContrastFit], tuple[SideMetrics | None, SideMetrics | None]]
SEEN: Measured = lambda fit: (fit.retain, fit.forget)  # noqa: E731
UNSEEN: Measured = lambda fit: (fit.unseen_retain, fit.unseen_forget)  # noqa: E731


def fit_all(options: argparse.Namespace) -> list[ContrastRun]:
    """Two runs, one per direction, for each task held out."""
    model, tokenizer = chg.load_model(MODEL)
    data = chg.load_tuples(TUPLES, tokenizer)
    validation = chg.load_tuples(TUPLES, tokenizer, split="validation")
    runs = []
    for task in data.task_names:
        result = chg.fit_matched(
            model,
            chg.split_tuples(data, validation, hold_out=task),
            both_directions=True,
            alpha=options.alpha,
            lambda_reg=options.lambda_reg,
            starts=options.seeds,
            max_steps=options.updates,
            batch_size=8,
            show_progress=False,
        )
        assert result.reversed is not None
        runs += [_best_alphas(one.run) for one in (result, result.reversed)]
        print(f"without {task}: fitted in {result.run.seconds:.0f} s", flush=True)
    return runs


def _best_alphas(run: ContrastRun) -> ContrastRun:
    """Of each seed the best alpha, by tasks that were fitted."""
    seeds = sorted({fit.seed for fit in run.fits})
    of_seeds = [[fit for fit in run.fits if fit.seed == seed] for seed in seeds]
    best = tuple(max(fits, key=lambda fit: fit.merit) for fits in of_seeds)
    return replace(run, fits=best, best=best.index(run.fits[run.best]))


def print_table(runs: list[ContrastRun]) -> None:
    """Mean and spread over seeds, for docs/builtin.md."""
    print(
        "| held out | retained | fitted tasks: kept | forgotten | held-out task: kept | forgotten |"
    )
    print("|---|---|---|---|---|---|")
    for run in sorted(runs, key=lambda run: run.reversed):
        cells = [_over_seeds(run, kind, side) for kind in (SEEN, UNSEEN) for side in (0, 1)]
        print(f"| {run.held_out_task} | {FORMATS[run.reversed]} | {' | '.join(cells)} |")


def _over_seeds(run: ContrastRun, measured: Measured, side: int) -> str:
    figures = [one for fit in run.fits if (one := measured(fit)[side]) is not None]
    mean, spread = mean_and_spread([one.accuracy_after for one in figures])
    return f"{mean:.0%} ± {spread:.0%}"


def draw(runs: list[ContrastRun]) -> Figure:
    """A column per direction; accuracy above, log-probability below; a point per seed."""
    figure = Figure(figsize=(10, 6.6))
    figure.set_layout_engine("constrained")
    panels = figure.subplots(2, 2, sharex=True, sharey="row")
    measures: tuple[tuple[str, Callable[[SideMetrics], float]], ...] = (
        ("accuracy", lambda side: side.accuracy_after),
        ("log-probability of the target\n(nats)", lambda side: -side.nll_after),
    )
    for row, (label, measure) in zip(panels, measures, strict=True):
        row[0].set_ylabel(label)
        for axes, direction in zip(row, (False, True), strict=True):
            of_direction = [run for run in runs if run.reversed == direction]
            _panel(axes, of_direction, measure)
    for place, axes in enumerate(panels[0]):
        axes.set_title(f"retain {FORMATS[place]}, forget {FORMATS[1 - place]}", fontsize=11)
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, fontsize=9, frameon=False, loc="outside lower center", ncols=4)
    figure.suptitle("The task held out of fitting, asked in both formats", fontsize=12)
    return figure


def _panel(axes: Axes, runs: list[ContrastRun], measure: Callable[[SideMetrics], float]) -> None:
    for place, run in enumerate(runs):
        for side, (name, colour, marker) in enumerate(
            (("retained format", RETAINED, "o"), ("forgotten format", FORGOTTEN, "s"))
        ):
            found = [one for fit in run.fits if (one := UNSEEN(fit)[side]) is not None]
            values = [measure(one) for one in found]
            x = place + (-0.17, 0.17)[side]
            axes.bar(
                x,
                mean_and_spread(values)[0],
                width=0.3,
                color=colour,
                alpha=0.35,
                label=f"{name}: mean over seeds" if not place else None,
            )
            axes.scatter(
                [x] * len(values),
                values,
                s=18,
                color=colour,
                marker=marker,
                zorder=3,
                label=f"{name}: a seed" if not place else None,
            )
    axes.set_xticks(range(len(runs)), [str(run.held_out_task).replace("-", "-\n") for run in runs])
    axes.tick_params(labelsize=8)
    axes.grid(axis="y", color="#e5e5e5", zorder=0)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def main() -> None:
    """Fit, print and draw."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--picture", type=Path, required=True, help="PNG to write")
    parser.add_argument("--seeds", type=int, default=3, help="starts fitted side by side")
    parser.add_argument("--updates", type=int, default=200)
    parser.add_argument("--alpha", default="0.5,1", help="weights of forgetting")
    parser.add_argument("--lambda_reg", type=float, default=0.0)
    options = parser.parse_args()
    began = time.perf_counter()
    runs = fit_all(options)
    print_table(runs)
    draw(runs).savefig(options.picture, dpi=150, format="png", facecolor="white")
    print(f"{time.perf_counter() - began:.0f} s in all")


if __name__ == "__main__":
    main()

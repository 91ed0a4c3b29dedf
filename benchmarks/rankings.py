"""Faithfulness of every ranking of heads, on finished studies, for several kinds of ablation.

    python benchmarks/rankings.py --quick            # two small studies of the built-in model
    python benchmarks/rankings.py runs/ioi runs/subject-verb --ablation zero resample --seeds 3

Of each study, with its own model and held-out rows: its rankings, individual ablation and the
estimate from gradients under each kind, and budgeted fits from several seeds, which start from the
order of its removal gates, or from that of the estimate. Intervals are over rows, and over seeds
where a ranking has several. What a study was fitted with to another kind is marked so.
"""

from __future__ import annotations

import argparse
import io
import logging
import tempfile
import time
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

import chg
from chg.ablation import PASSES_OF_A_GRADIENT, faithfulness, study_rankings
from chg.cli.inputs import load_checked_model
from chg.cli.validate import command_again
from chg.config import AblationKind, CheckConfig
from chg.engine import ESTIMATE_POINTS
from chg.files import plain_json, write_json
from chg.results import Faithfulness, Ranking

UPDATES, BATCH, RATE = 100, 8, 0.0125
"""Of a budgeted fit, as in a study."""
QUICK = ("builtin:icl", "builtin:instruction")


def rankings(
    model: Any, study: chg.Study, rows: chg.TokenData, kind: AblationKind, options: Any
) -> Iterator[Ranking]:
    """Yield the rankings of a study, and those made here under a kind of ablation."""
    own = study.manifest["configuration"]["ablation"]
    for ranking in study_rankings(study):
        yield ranking if kind == own else replace(ranking, name=f"{ranking.name} ({own})")
    some = rows.sample(options.rows, 1)
    settings: dict[str, Any] = {"ablation": kind, "show_progress": False}
    if kind != own:
        scores = chg.ablate_heads(model, some, **settings).scores
        yield Ranking("ablation", -scores[None], len(study.heads) * len(some))
        estimate = chg.ablate_heads(model, some, mode="estimate", **settings).scores
        passes = PASSES_OF_A_GRADIENT * len(ESTIMATE_POINTS) * len(some)
        yield Ranking("estimate", -estimate[None], passes)
    removal = torch.from_numpy(study.logits["removal"]).mean(0)
    for name, start in (("removal", torch.sigmoid(removal)), ("estimate", None)):
        fits = [
            chg.fit_budgeted(
                model, rows, init=start, max_steps=UPDATES, batch_size=BATCH, lr=RATE, seed=seed,
                **settings,
            ).logits.double().numpy()
            for seed in range(options.seeds)
        ]  # fmt: skip
        passes = PASSES_OF_A_GRADIENT * UPDATES * BATCH
        yield Ranking(f"budgeted fit, {name} first", np.stack(fits), passes)


def measured(study: chg.Study, run: Path, kind: AblationKind, options: Any) -> Faithfulness:
    """Measure all rankings on held-out rows of a study."""
    called = command_again(study.manifest["command"], CheckConfig(run=str(run)))
    model, tokenizer = load_checked_model(called.model)
    inputs = called.open().tokenize(model, tokenizer)
    found = list(rankings(model, study, inputs.data, kind, options))
    return faithfulness(
        model,
        inputs.held_out.sample(options.rows, 0),
        {ranking.name: ranking for ranking in found},
        ablation=kind,
        show_progress=False,
    )


def show(console: Console, title: str, found: Faithfulness) -> None:
    """Print the curves of one study under one kind."""
    table = Table(title=f"{title}: {found.rows} rows", title_justify="left")
    for name in ("ranking", "CMD", "CPR", f"heads of {found.heads} for 90 %", "row passes"):
        table.add_column(name)
    for curve in found.curves:
        passes = "" if curve.row_passes is None else f"{curve.row_passes:,}"
        reach = str(found.size_reaching(curve))
        table.add_row(curve.ranking, str(curve.cmd), str(curve.cpr), reach, passes)
    console.print(table)


def main() -> None:
    """Measure, print, and write JSON if asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("runs", nargs="*", type=Path)
    parser.add_argument("--quick", action="store_true", help="small studies of the built-in model")
    parser.add_argument("--ablation", nargs="+", default=["zero"], choices=get_args(AblationKind))
    parser.add_argument("--rows", type=int, default=48, help="held-out rows")
    parser.add_argument("--seeds", type=int, default=3, help="budgeted fits of each kind")
    parser.add_argument("--out", type=Path, help="file for all curves as JSON")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    console, curves = Console(width=120), {}
    with tempfile.TemporaryDirectory() as folder:
        runs = [*options.runs, *(quick_studies(Path(folder)) if options.quick else ())]
        for run in runs:
            study = chg.Study.load(run)
            for kind in options.ablation:
                began = time.process_time()
                found = measured(study, run, kind, options)
                title = f"{study.manifest['title']}, {kind}"
                show(console, title, found)
                console.print(f"{time.process_time() - began:.0f} CPU seconds\n")
                curves[title] = asdict(found)
    if options.out is not None:
        write_json(options.out, plain_json(curves))


def quick_studies(folder: Path) -> Iterator[Path]:
    """Make small studies of the built-in model, as the command line does."""
    from chg.cli import main as command_line

    for name in QUICK:
        run = folder / name.removeprefix("builtin:")
        small = ["--seeds", "2", "--max_steps", "100", "--check_seeds", "0", "--no_patterns"]
        called = ["study", "--model", "builtin:tiny", "--dataset", name, *small, "--quiet"]
        with redirect_stdout(io.StringIO()):
            command_line([*called, "--out", str(run)])
        yield run


if __name__ == "__main__":
    main()

"""Whether gates, and ablation alone, find heads that attention patterns make known.

    python benchmarks/known_heads.py runs/induction                   # a study
    python benchmarks/known_heads.py ablation.json --model FOLDER     # ablation alone

For previous-token, duplicate-token and induction heads (scores above 0.4): how many of them
facilitate, and how well facilitation and the cost of ablating a head alone tell them from all
others (AUROC). Patterns are those of the study; with `--model`, they are measured now.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

import chg
from chg.results import KNOWN_ABOVE, PATTERNS, in_family, more_than_drawn, separation


def main() -> None:
    """Print a row for every pattern and score."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="folder of a study, or a result of `chg ablate`")
    parser.add_argument("--model", help="measure the patterns of this model")
    options = parser.parse_args()
    heads = heads_of(options.run)
    if options.model:
        patterns = chg.attention_patterns(chg.load_model(options.model)[0])
        for name, scores in patterns.by_name.items():
            heads[name] = scores[heads["layer"], heads["head"]]
    if "induction" not in heads:
        parser.error(f"{options.run} has no attention patterns; give --model")
    table = Table(title=f"Heads known by their attention in {options.run}", title_justify="left")
    columns = ("pattern", "heads", "facilitate", "others do", "p", "score", "AUROC, 95 % interval")
    for column in columns:
        table.add_column(column)
    for pattern in PATTERNS:
        for row in rows_of(pattern, heads[heads[pattern].notna()]):
            table.add_row(*row)
    Console(width=120).print(table)


def heads_of(run: Path) -> pd.DataFrame:
    """Heads of a study or of an ablation, with the scores that there are."""
    if run.is_dir():
        return chg.Study.load(run).heads.copy()
    scores = chg.AblationResult.load(run).scores
    layers, heads = np.nonzero(np.isfinite(scores))
    columns = {"layer": layers, "head": heads, "ablation_score": scores[layers, heads]}
    return pd.DataFrame(columns)


def rows_of(pattern: str, heads: pd.DataFrame) -> list[tuple[str, ...]]:
    """Rows of the table for one pattern."""
    known = heads[pattern].to_numpy() > KNOWN_ABOVE
    counts = ["", "", ""]
    if "role" in heads:
        facilitates = in_family(heads["role"].to_numpy(str), "facilitation")
        both = [(int(facilitates[one].sum()), int(one.sum())) for one in (known, ~known)]
        counts = [*(f"{some} of {all_}" for some, all_ in both), f"{more_than_drawn(*both):.2g}"]
    scores = {"ablation": -heads["ablation_score"].to_numpy()}
    if "facilitation_mean" in heads:
        scores = {"facilitation": heads["facilitation_mean"].to_numpy(), **scores}
    if not 0 < known.sum() < len(known):
        return [(pattern, str(known.sum()), *counts, "", "")]
    return [
        (pattern, str(known.sum()), *counts, name, str(separation(values, known)))
        for name, values in scores.items()
    ]


if __name__ == "__main__":
    main()

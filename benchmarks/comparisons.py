"""Whether what a comparison says holds: its intervals, and the heads that it calls different.

    python benchmarks/comparisons.py              # three minutes on one core
    python benchmarks/comparisons.py --draws 50   # a look

Facilitating sets and gates near 0 and 1 are drawn, so that the truth is known.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from evidence import show

from chg.results.agreement import overlap_matrix
from chg.results.head_differences import head_differences
from chg.results.likeness import between_runs, within_run

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from support.drawn_runs import DRAWS, SHARES, few_unsure, gates_near_ends

SEEDS = (3, 5, 10)
HEADS, DIFFERENT = 270, 20


def coverage(draws: int) -> None:
    """Share of the intervals in which the truth lies."""
    random = np.random.default_rng(0)
    rows = []
    for kind, draw in DRAWS.items():
        many = draw(random, 800, 0), draw(random, 800, 8)
        within = overlap_matrix(many[0], many[0])[np.triu_indices(800, 1)].mean()
        truths = overlap_matrix(*many).mean(), within
        cells = []
        for seeds in SEEDS:
            hits = np.zeros(2)
            for _ in range(draws):
                left, right = draw(random, seeds, 0), draw(random, seeds, 8)
                between = between_runs(overlap_matrix(left, right), range(seeds), range(seeds))
                alone = within_run(overlap_matrix(left, left), range(seeds))
                for place, (found, truth) in enumerate(zip((between, alone), truths, strict=True)):
                    hits[place] += found.low <= truth <= found.high
            cells.append(" / ".join(f"{100 * one / draws:.1f} %" for one in hits))
        rows.append((kind, *cells))
    columns = ("facilitating sets", *(f"{seeds} seeds" for seeds in SEEDS))
    show("Intervals of overlap: between two runs / within one", columns, rows)


def differences(draws: int) -> None:
    """Heads that are called different where none is, and where some are."""
    random = np.random.default_rng(1)
    rows = []
    for kind, share in SHARES.items():
        for seeds in SEEDS:
            counts = np.zeros(3)
            for _ in range(draws):
                chance = share(random, HEADS)
                found = head_differences(
                    [
                        (
                            gates_near_ends(random, chance, seeds),
                            gates_near_ends(random, chance, seeds),
                        )
                    ]
                )
                differing = int(found.differs.sum())
                counts += (found.passing, differing, differing > 0)
            passing, wrong, any_ = counts / draws
            cells = f"{passing / HEADS:.2%}", f"{wrong / HEADS:.3%}", f"{any_:.0%}"
            rows.append((kind, seeds, *cells))
    columns = ("two runs of the same", "seeds", "pass the test", "called different", "any at all")
    show(f"Heads that differ by chance, of {HEADS}", columns, rows)
    power = []
    for seeds in SEEDS:
        hits = wrong = 0
        for _ in range(draws):
            chance, planted = few_unsure(random, HEADS), np.arange(HEADS) < DIFFERENT
            left, right = (
                gates_near_ends(random, np.where(planted, end, chance), seeds) for end in (0, 1)
            )
            differs = head_differences([(left, right)]).differs
            hits += int(differs[planted].sum())
            wrong += int(differs[~planted].sum())
        shown = f"{hits / draws / DIFFERENT:.1%}", f"{wrong / max(hits + wrong, 1):.1%}"
        power.append((seeds, *shown))
    show(f"{DIFFERENT} heads that do differ", ("seeds", "found", "wrong among those found"), power)


def main() -> None:
    """Measure both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=200, help="comparisons of each kind")
    draws = parser.parse_args().draws
    coverage(draws)
    differences(max(1, draws // 4))


if __name__ == "__main__":
    main()

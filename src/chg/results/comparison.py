"""Comparison of studies of one shape: roles, overlap, correlation, and the heads that differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from chg.config import Unit, head_label
from chg.errors import ResultsError
from chg.files import plain_json, read_json, write_json
from chg.results.compared_runs import (
    PAIR_COLUMNS,
    RUN_COLUMNS,
    SOME_PAIR_COLUMNS,
    ComparedRun,
    RunPair,
)
from chg.results.intervals import SIGNIFICANT
from chg.results.likeness import Likeness
from chg.results.roles import ROLES
from chg.results.schema import Place, read_record
from chg.results.study_files import require_among, require_columns

if TYPE_CHECKING:
    import pandas as pd
    from typing_extensions import Self

COMPARISON = "comparison.json"
FORMAT_VERSION = 1
KIND = "a comparison as `chg compare` writes it"
"""Name of a comparison in error messages."""


@dataclass(frozen=True, eq=False)
class ComparisonResults:
    """Studies of one shape beside each other; `load(folder)` reads it back."""

    runs: tuple[ComparedRun, ...]
    pairs: tuple[RunPair, ...]
    shape: tuple[Place, Place]
    """Layers, and heads of a layer."""
    unit: Unit
    heads: pd.DataFrame
    """One row per head, as `heads.csv`: columns of every run end in its name, those of a pair in
    `_LEFT_to_RIGHT`."""

    def __repr__(self) -> str:
        names = ", ".join(run.name for run in self.runs)
        differing = [int(self.heads[pair.column("differs")].sum()) for pair in self.pairs]
        return (
            f"<{type(self).__name__} of {len(self.runs)} runs, {names}: {len(self.heads)} heads, "
            f"of which {', '.join(map(str, differing))} differ>"
        )

    @cached_property
    def table(self) -> pd.DataFrame:
        """Likeness of the seeds of every run, and of every pair of runs, a row each."""
        import pandas as pd

        within = [(run.name, run.name, run, np.nan, np.nan) for run in self.runs]
        between = [
            (pair.left, pair.right, pair, pair.overlap_p, pair.correlation_p) for pair in self.pairs
        ]
        rows = []
        for left, right, found, overlap_p, correlation_p in [*within, *between]:
            row: dict[str, Any] = {"left": left, "right": right}
            for name, p in (("overlap", overlap_p), ("correlation", correlation_p)):
                likeness: Likeness = getattr(found, name)
                row |= {
                    name: likeness.mean,
                    f"{name}_low": likeness.low,
                    f"{name}_high": likeness.high,
                    f"{name}_p": p,
                }
            rows.append(row)
        return pd.DataFrame(rows)

    def matrix(self, measure: str) -> NDArray[np.float64]:
        """Means of `overlap` or `correlation` as `[run, run]`, within the runs on the diagonal."""
        places = {run.name: index for index, run in enumerate(self.runs)}
        matrix = np.diag([getattr(run, measure).mean for run in self.runs])
        for pair in self.pairs:
            left, right = places[pair.left], places[pair.right]
            matrix[left, right] = matrix[right, left] = getattr(pair, measure).mean
        return matrix

    def run(self, name: str) -> ComparedRun:
        """The run of a name."""
        return next(run for run in self.runs if run.name == name)

    def cross_table(self, pair: RunPair) -> pd.DataFrame:
        """Number of heads with each role in one run (rows) and in the other (columns)."""
        import pandas as pd

        rows, columns = (self.heads[f"role_{name}"] for name in (pair.left, pair.right))
        counts = pd.crosstab(rows, columns)
        roles = [role for role in ROLES if role in counts.index or role in counts.columns]
        return counts.reindex(index=roles, columns=roles, fill_value=0)

    def ranked(self, pair: RunPair, column: str) -> pd.DataFrame:
        """Heads for which a column of a pair is true, the largest change first."""
        chosen = self.heads[self.heads[pair.column(column)]]
        sizes = self.largest_change(pair)[chosen.index]
        return chosen.loc[sizes.sort_values(ascending=False, kind="stable").index]

    def largest_change(self, pair: RunPair) -> pd.Series:
        """Larger of the changes of facilitation and of interference of every head."""
        changes = [pair.column(f"{score}_change") for score in ("facilitation", "interference")]
        return self.heads[changes].abs().max(axis=1)

    def ablated_otherwise(self, pair: RunPair) -> pd.DataFrame:
        """Heads whose ablation has another effect in the other run, the largest change first."""
        if not self.compares_ablation(pair):
            return self.heads.iloc[:0]
        chosen = self.heads[self.heads[pair.column("ablation_q")] < SIGNIFICANT]
        sizes = chosen[pair.column("ablation_change")].abs()
        return chosen.loc[sizes.sort_values(ascending=False, kind="stable").index]

    def compares_ablation(self, pair: RunPair) -> bool:
        """True where the ablation scores of both runs measure the same."""
        return pair.column("ablation_change") in self.heads

    def name(self, layer: int, head: int) -> str:
        """Name of a head, `L3H7`, of a key-value group, `L3G1`, or of an MLP block, `L3MLP`."""
        return head_label(layer, head, self.unit, self.shape[1])

    def role_map(self, name: str) -> NDArray[Any]:
        """Roles of a run as `[layer, head]`; empty where there is no head."""
        matrix = np.full(self.shape, "", dtype=object)
        matrix[self.heads["layer"], self.heads["head"]] = self.heads[f"role_{name}"]
        return matrix.astype(str)

    def save(self, path: str | Path) -> Path:
        """Write it as JSON, atomically; returns the path.

        Raises:
            OutputError: `path` cannot be written.
        """
        content = {
            "format_version": FORMAT_VERSION,
            "runs": [asdict(run) for run in self.runs],
            "pairs": [asdict(pair) for pair in self.pairs],
            "shape": self.shape,
            "unit": self.unit,
            "heads": {name: self.heads[name].tolist() for name in self.heads},
        }
        write_json(path, plain_json(content), allow_nan=False)
        return Path(path)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a comparison, from its folder or its file.

        Raises:
            ResultsError: it is missing or damaged.
        """
        path = Path(path)
        path = path / COMPARISON if path.is_dir() else path
        if not path.is_file():
            raise ResultsError(f"{path} does not exist; make one with `chg compare RUN RUN`")
        content = read_json(path, KIND)
        record = read_record(
            _Stored, {**content, "format_version": content.get("format_version", 1)}, path, KIND
        )
        heads = _read_heads(record, path)
        return cls(record.runs, record.pairs, record.shape, record.unit, heads)


@dataclass(frozen=True)
class _Stored:
    """Content of the file."""

    format_version: int
    runs: tuple[ComparedRun, ...]
    pairs: tuple[RunPair, ...]
    shape: tuple[Place, Place]
    unit: Unit
    heads: Mapping[str, tuple[Any, ...]]


def _read_heads(stored: _Stored, path: Path) -> pd.DataFrame:
    """Make the table of heads, and see that it has the columns of all runs and pairs."""
    import pandas as pd

    names = [run.name for run in stored.runs]
    pairs = [(pair.left, pair.right) for pair in stored.pairs]
    if len(names) < 2 or len(set(names)) < len(names) or pairs != [*combinations(names, 2)]:
        raise ResultsError(f"{path} is not {KIND}: its pairs are not those of its runs")
    sizes = {len(column) for column in stored.heads.values()}
    if len(sizes) != 1:
        raise ResultsError(f"{path} is not {KIND}: its columns are of different lengths")
    needed: dict[str, type] = {"layer": int, "head": int}
    needed |= {f"{name}_{run}": kind for run in names for name, kind in RUN_COLUMNS.items()}
    needed |= {
        one.column(name): kind for one in stored.pairs for name, kind in PAIR_COLUMNS.items()
    }
    for pair in stored.pairs:
        some = {pair.column(name): kind for name, kind in SOME_PAIR_COLUMNS.items()}
        needed |= some if any(name in stored.heads for name in some) else {}
    unknown = next((name for name in stored.heads if name not in needed), None)
    if unknown is not None:
        raise ResultsError(f"{path} is not {KIND}: {unknown} is no column of its runs")
    numbers = [name for name, kind in needed.items() if kind is float]
    table = pd.DataFrame(
        {
            name: [np.nan if value is None and name in numbers else value for value in column]
            for name, column in stored.heads.items()
        }
    )
    require_columns(table, needed, {}, path)
    for name, allowed in (("layer", range(stored.shape[0])), ("head", range(stored.shape[1]))):
        require_among(table, name, allowed, path)
    for run in names:
        require_among(table, f"role_{run}", ROLES, path)
    return table

"""Readers of a study's manifest, metrics and table of heads, each with its schema.

A new field of the manifest, or a new column, is a line here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chg.config import StudyConfig, Unit
from chg.errors import ResultsError, reason
from chg.files import MANIFEST, read_json, read_text
from chg.results.competence import Competence
from chg.results.patterns import PATTERNS
from chg.results.roles import ROLES, SCORES
from chg.results.schema import LARGEST, Place, open_ended, read_record
from chg.results.stages import STAGES

if TYPE_CHECKING:
    import pandas as pd

KIND = "a manifest as `chg study` writes it"
"""Name of a manifest in error messages."""


@open_ended
@dataclass(frozen=True)
class Spread:
    """Mean and range over seeds."""

    mean: float
    min: float
    max: float


@open_ended
@dataclass(frozen=True)
class StageFigures:
    """Held-out figures of a stage."""

    nll: Spread
    accuracy: Spread
    metric: Spread | None = None
    """Measure that gates were to keep, where it is not the log-probability."""


@open_ended
@dataclass(frozen=True)
class UngatedFigures:
    """Held-out figures of the ungated model."""

    nll: float
    accuracy: float
    metric: float | None = None


@open_ended
@dataclass(frozen=True)
class Figures:
    """Held-out figures of a study."""

    ungated: UngatedFigures
    initial: StageFigures
    retention: StageFigures
    removal: StageFigures


@open_ended
@dataclass(frozen=True)
class Manifest:
    """Fields of `manifest.json`; those without a default are needed to read the study."""

    configuration: StudyConfig
    seeds: tuple[int, ...]
    title: str = ""
    summary: str = ""
    created: str | None = None
    device: str | None = None
    git_commit: str | None = None
    unit: Unit = "head"
    shape: tuple[Place, Place] | None = None
    model: Mapping[str, Any] | None = None
    data: Mapping[str, Any] | None = None
    held_out: Mapping[str, Any] | None = None
    command: Mapping[str, Any] | None = None
    versions: Mapping[str, str] | None = None
    times: Mapping[str, float] | None = None
    figures: Figures | None = None
    competence: Competence | None = None


METRICS_COLUMNS = {
    "stage": str,
    "lambda_reg": float,
    "seed": int,
    "step": int,
    "loss": float,
    "open": int,
    "closed": int,
    "middle": int,
    "lr": float,
}
"""Columns of `metrics.jsonl`."""
SOME_METRICS = {"held_out_nll": float}
"""Columns that few of its lines have."""

HEADS_COLUMNS = {
    "layer": int,
    "head": int,
    "role": str,
    "seeds_in_role": int,
    "role_low": float,
    "role_high": float,
    **{f"{name}_{end}": float for name in SCORES for end in ("mean", "low", "high", "min", "max")},
    **{f"share_{role}": float for role in ("facilitating", "irrelevant", "interfering")},
    **{
        f"{much}_{role}": bool
        for role in ("facilitating", "interfering")
        for much in ("any", "always")
    },
    "ablation_score": float,
    "ablation_stderr": float,
    "ablation_q": float,
    "estimate_score": float,
    "disagrees": str,
}
"""Columns of the table of heads."""
SOME_HEADS = {
    **{f"retention_{name}": float for name in ("score", "stderr", "q")},
    **{f"lambda_{end}": float for end in ("low", "high")},
    "budgeted_score": float,
    **dict.fromkeys(PATTERNS, float),
}
"""Columns that the tables of some studies have."""


def read_manifest(folder: Path, *, finished: bool = True) -> dict[str, Any]:
    """Read the manifest of a study, which must be finished unless told otherwise.

    Raises:
        ResultsError: there is none, it is damaged, or the study is not finished.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise ResultsError(f"{folder} holds no study; make one with `chg study --out {folder}`")
    manifest = read_json(path, KIND)
    if finished and manifest.get("status") != "complete":
        raise ResultsError(f"the study in {folder} is not finished; go on with --resume")
    read_record(Manifest, manifest, path, KIND)
    return manifest


def read_metrics(file: Path) -> pd.DataFrame:
    """Read `metrics.jsonl`.

    Raises:
        ResultsError: it is missing or damaged.
    """
    import pandas as pd

    rows = []
    try:
        for number, line in enumerate(read_text(file).splitlines(), start=1):
            rows.append(json.loads(line))
            if not isinstance(rows[-1], dict):
                raise ResultsError(f"{file} is damaged: line {number} holds no JSON object")
    except OSError as error:
        raise ResultsError(f"{file} cannot be read: {reason(error)}") from error
    except (ValueError, RecursionError) as error:
        raise ResultsError(f"{file} is damaged: line {len(rows) + 1}: {reason(error)}") from error
    table = pd.DataFrame(rows, columns=None if rows else list(METRICS_COLUMNS))
    require_columns(table, METRICS_COLUMNS, SOME_METRICS, file)
    require_among(table, "stage", STAGES, file)
    return table


def read_heads(file: Path, shape: tuple[int, int]) -> pd.DataFrame:
    """Read the table of heads of a model with gates of a shape.

    Raises:
        ResultsError: it is missing, damaged, or of another model.
    """
    import pandas as pd

    try:
        table = pd.read_parquet(file)
    except Exception as error:  # damaged files fail in as many ways as there are readers
        raise ResultsError(f"{file} is missing or damaged: {reason(error)}") from error
    require_columns(table, HEADS_COLUMNS, SOME_HEADS, file)
    require_among(table, "role", ROLES, file)
    require_among(table, "layer", range(shape[0]), file)
    require_among(table, "head", range(shape[1]), file)
    return table


def require_columns(
    table: pd.DataFrame, needed: Mapping[str, type], others: Mapping[str, type], file: Path
) -> None:
    """See that a table has the columns that it needs, and that these and others hold their types.

    Raises:
        ResultsError: one is missing, or holds something else.
    """
    kinds = {int: ("iu", "whole numbers"), float: ("fiu", "numbers"), bool: ("b", "true or false")}
    for name in needed:
        if name not in table:
            raise ResultsError(f"{file} is damaged: it has no column {name}")
    for name, kind in {**needed, **others}.items():
        if name not in table or table.empty:
            continue
        column = table[name]
        if kind is str:
            fits, words = all(isinstance(value, str) for value in column), "text"
        else:
            letters, words = kinds[kind]
            fits = column.dtype.kind in letters and not (column.abs() > LARGEST).any()
        if not fits:
            raise ResultsError(f"{file} is damaged: its column {name} does not hold {words}")


def require_among(table: pd.DataFrame, name: str, allowed: Any, file: Path) -> None:
    """See that a column holds nothing but some values.

    Raises:
        ResultsError: it holds another.
    """
    wrong = next((value for value in table[name].unique().tolist() if value not in allowed), None)
    if wrong is not None:
        raise ResultsError(f"{file} is damaged: its column {name} holds {wrong!r}")

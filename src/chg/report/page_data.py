"""Content of the page, as one JSON object.

Values of every head in every seed are lists in the order of the csv's rows, and kept small: gates
and scores in thousandths, roles as one digit per head, the place in `ROLES`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from chg.config import CLOSED_BELOW, OPEN_ABOVE, UNIT_LETTERS
from chg.results import ROLES, STAGES, CausalCurve, PathScores, StudyResults

MAX_POINTS = 160
"""Points of a curve at most; longer fits are averaged over equal spans of updates."""
MAX_GROUPS = 30
"""Redundant groups and different circuits that are listed; the rest are counted."""


def heads_csv(study: StudyResults) -> str:
    """Text of `heads.csv`, which the page carries as it is."""
    return str(study.heads.to_csv(index=False, float_format="%.6g", lineterminator="\n"))


def page_data(study: StudyResults) -> dict[str, Any]:
    """Collect what the page needs beside the table of heads, as plain JSON without NaN."""
    manifest = study.manifest
    layers, heads = study.logits["removal"].shape[1:]
    rows = study.heads["layer"].to_numpy(), study.heads["head"].to_numpy()
    content = {
        "title": manifest.get("title", "study"),
        "shape": [int(layers), int(heads)],
        "unit": study.unit,
        "letter": UNIT_LETTERS[study.unit],
        "seeds": list(study.seeds),
        "roles": dict(ROLES),
        "thresholds": [CLOSED_BELOW, OPEN_ABOVE],
        "gates": {
            stage: [_thousandths(gates[rows]) for gates in study.gates(stage)] for stage in STAGES
        },
        "seedRoles": [_digits(roles[rows]) for roles in study.roles],
        "figures": manifest.get("figures") or {},
        "curves": _curves(study),
        "checks": [_check(curve) for curve in study.checks],
        "correlations": [correlation.row() for correlation in study.correlations],
        "agreement": _agreement(study),
        "path": None if study.path is None else _path(study.path, rows),
    }
    plain: dict[str, Any] = _plain(content)
    return plain


def _thousandths(values: NDArray[Any]) -> list[int | None]:
    return [None if math.isnan(value) else round(value * 1000) for value in values.tolist()]


def _digits(roles: NDArray[Any]) -> str:
    code = {name: str(index) for index, name in enumerate(ROLES)}
    return "".join(code.get(str(role), "-") for role in roles)


def _curves(study: StudyResults) -> list[dict[str, Any]]:
    """Loss, share of open gates and held-out NLL over the updates, per stage and seed."""
    curves = []
    for stage in STAGES:
        rows = study.metrics_of(stage)
        if rows.empty:
            continue
        steps = int(rows["step"].nunique())
        span = max(1, math.ceil(steps / MAX_POINTS))
        curve: dict[str, Any] = {"stage": stage, "span": span}
        for name in ("loss", "open", "held_out_nll"):
            if name in rows and rows[name].notna().any():
                curve[name] = _series(rows.dropna(subset=name), name, span)
        curves.append(curve)
    return curves


def _series(rows: pd.DataFrame, name: str, span: int) -> dict[str, Any]:
    """Last updates of the spans (`x`), and per seed the means over each span."""
    # Updates of a span may carry uneven numbers: its last one is where the point is drawn.
    last = rows.groupby((rows["step"] - 1) // span)["step"].transform("max")
    wide = rows.groupby([last, rows["seed"]])[name].mean().unstack("seed")
    values = [[_rounded(value) for value in wide[seed].tolist()] for seed in wide.columns]
    return {"x": wide.index.tolist(), "values": values, "seeds": wide.columns.tolist()}


def _check(curve: CausalCurve) -> dict[str, Any]:
    return {
        "score": curve.score,
        "expected": curve.expected,
        "counts": curve.counts.tolist(),
        "difference": _matrix(curve.difference),
        "inRole": curve.in_role,
        "holds": curve.holds,
        "verdict": curve.verdict,
    }


def _agreement(study: StudyResults) -> dict[str, Any]:
    agreement = study.agreement
    circuits = [{"heads": len(heads), "seeds": list(seeds)} for heads, seeds in agreement.circuits]
    return {
        "spearman": {name: _matrix(matrix) for name, matrix in agreement.spearman.items()},
        "jaccard": _matrix(agreement.jaccard),
        "circuits": circuits[:MAX_GROUPS],
        "numCircuits": len(circuits),
        "redundant": [
            {"heads": list(pair.heads), "alone": list(pair.alone), "together": pair.together}
            for pair in study.redundant[:MAX_GROUPS]
        ],
        "numRedundant": len(study.redundant),
    }


def _path(path: PathScores, rows: tuple[NDArray[Any], NDArray[Any]]) -> dict[str, Any]:
    return {
        "lambdas": list(path.lambdas),
        "roles": [_digits(roles[rows]) for roles in path.roles],
        "scores": {
            name: [_thousandths(matrix[rows]) for matrix in matrices]
            for name, matrices in path.scores.items()
        },
    }


def _matrix(matrix: NDArray[np.float64]) -> list[list[float | None]]:
    return [[_rounded(value) for value in row] for row in matrix.tolist()]


def _rounded(value: float) -> float | None:
    return None if math.isnan(value) else float(f"{value:.5g}")


def _plain(value: Any) -> Any:
    """Replace numpy's numbers by Python's, and NaN, which JSON has no word for, by None."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value

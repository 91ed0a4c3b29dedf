"""What the page shows, as one JSON object.

Per-head numbers that vary over seeds are lists in the order of the csv's rows, so that they stay
small: gates and scores in thousandths, roles as one digit per head (`ROLES`' order).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from chg.config import CLOSED_BELOW, OPEN_ABOVE
from chg.results import ROLES, STAGES, PathScores, StudyResults

MAX_POINTS = 160
"""A curve's points; longer fits are averaged over equal spans of updates."""
MAX_GROUPS = 30
"""Redundant groups and different circuits that are listed; of the rest, only how many."""


def heads_csv(study: StudyResults) -> str:
    """The text of `heads.csv`, which the page carries as it is."""
    return str(study.heads.to_csv(index=False, float_format="%.6g", lineterminator="\n"))


def page_data(study: StudyResults) -> dict[str, Any]:
    """All the page needs beside the table of heads; plain JSON without NaN."""
    manifest = study.manifest
    layers, heads = study.logits["removal"].shape[1:]
    rows = study.heads["layer"].to_numpy(), study.heads["head"].to_numpy()
    unit = manifest.get("unit", "head")
    content = {
        "title": manifest.get("title", "study"),
        "shape": [int(layers), int(heads)],
        "unit": unit,
        "letter": "H" if unit == "head" else "G",
        "seeds": list(study.seeds),
        "roles": dict(ROLES),
        "thresholds": [CLOSED_BELOW, OPEN_ABOVE],
        "gates": {
            stage: [_thousandths(_sigmoid(one[rows])) for one in study.logits[stage]]
            for stage in STAGES
        },
        "seedRoles": [_digits(one[rows]) for one in study.roles],
        "figures": manifest.get("figures") or {},
        "curves": _curves(study),
        "checks": [_check(curve) for curve in study.checks],
        "correlations": [one.row() for one in study.correlations],
        "agreement": _agreement(study),
        "path": None if study.path is None else _path(study.path, rows),
    }
    plain: dict[str, Any] = _plain(content)
    return plain


def _sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-logits.astype(np.float64))))


def _thousandths(values: NDArray[Any]) -> list[int | None]:
    return [None if math.isnan(one) else round(one * 1000) for one in values.tolist()]


def _digits(roles: NDArray[Any]) -> str:
    code = {name: str(index) for index, name in enumerate(ROLES)}
    return "".join(code.get(str(role), "-") for role in roles)


def _curves(study: StudyResults) -> list[dict[str, Any]]:
    """Per stage: the steps, and per seed loss, share of open gates and held-out NLL."""
    curves = []
    for stage in STAGES:
        rows = study.metrics_of(stage)
        if rows.empty:
            continue
        steps = int(rows["step"].nunique())
        span = max(1, math.ceil(steps / MAX_POINTS))
        one: dict[str, Any] = {"stage": stage, "span": span}
        for name in ("loss", "open", "held_out_nll"):
            if name in rows and rows[name].notna().any():
                one[name] = _series(rows.dropna(subset=name), name, span)
        curves.append(one)
    return curves


def _series(rows: pd.DataFrame, name: str, span: int) -> dict[str, Any]:
    """`x`, and one list of values per seed; each point the mean over `span` updates."""
    # Updates of a span may carry uneven numbers: its last one is where the point is drawn.
    last = rows.groupby((rows["step"] - 1) // span)["step"].transform("max")
    wide = rows.groupby([last, rows["seed"]])[name].mean().unstack("seed")
    values = [[_rounded(v) for v in wide[seed].tolist()] for seed in wide.columns]
    return {"x": wide.index.tolist(), "values": values, "seeds": wide.columns.tolist()}


def _check(curve: Any) -> dict[str, Any]:
    return {
        "score": curve.score,
        "expected": curve.expected,
        "counts": curve.counts.tolist(),
        "difference": [[_rounded(v) for v in one] for one in curve.difference.tolist()],
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
            {"heads": list(group.heads), "share": list(group.open_share)}
            for group in agreement.redundant[:MAX_GROUPS]
        ],
        "numRedundant": len(agreement.redundant),
    }


def _path(path: PathScores, rows: tuple[NDArray[Any], NDArray[Any]]) -> dict[str, Any]:
    return {
        "lambdas": list(path.lambdas),
        "roles": [_digits(one[rows]) for one in path.roles],
        "scores": {
            name: [_thousandths(one[rows]) for one in matrices]
            for name, matrices in path.scores.items()
        },
    }


def _matrix(matrix: NDArray[np.float64]) -> list[list[float | None]]:
    return [[_rounded(value) for value in row] for row in matrix.tolist()]


def _rounded(value: float) -> float | None:
    return None if math.isnan(value) else float(f"{value:.5g}")


def _plain(value: Any) -> Any:
    """The same without numpy's numbers and without NaN, which JSON has no word for."""
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value

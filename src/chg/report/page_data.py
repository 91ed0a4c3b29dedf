"""Content of the page, as one JSON object.

Values of every head in every seed are lists in the order of the csv's rows, and kept small: gates
and scores in thousandths, roles as one digit per head, the place in `ROLES`.
"""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

from numpy.typing import NDArray

from chg.config import METRIC_WORDS, column_label
from chg.files import plain_json
from chg.report.evidence import evidence
from chg.report.palette import slug
from chg.report.scale import color_scale
from chg.report.tables import name_mlps
from chg.results import ROLES, STAGES, PathScores, StudyResults, rank_correlation

SURE_ESTIMATE = 0.7
"""Rank correlation with ablation below which the page warns of the estimate."""


def heads_csv(study: StudyResults) -> str:
    """Text of `heads.csv`, which the page carries as it is; MLPs are called so."""
    table = name_mlps(study.heads, study.unit, study.roles.shape[2])
    return str(table.to_csv(index=False, float_format="%.6g", lineterminator="\n"))


def page_data(study: StudyResults) -> dict[str, Any]:
    """Collect what the page needs beside the table of heads, as plain JSON without NaN."""
    manifest = study.manifest
    layers, heads = study.logits["removal"].shape[1:]
    rows = study.heads["layer"].to_numpy(), study.heads["head"].to_numpy()
    signed = [name for name in ("ablation_score", "estimate_score") if name in study.heads]
    content = {
        "title": manifest.get("title", "study"),
        "shape": [int(layers), int(heads)],
        "metric": METRIC_WORDS[study.metric].name,
        "columns": [column_label(head, study.unit, heads) for head in range(heads)],
        "seeds": list(study.seeds),
        "roles": {
            role: {"slug": slug(role), "meaning": ROLES[role], "evidence": told}
            for role, told in evidence(study).items()
        },
        "gates": {
            stage: [_thousandths(gates[rows]) for gates in study.gates(stage)] for stage in STAGES
        },
        "seedRoles": [_digits(roles[rows]) for roles in study.roles],
        "scales": {name: asdict(color_scale(study.heads[name])) for name in signed},
        "estimate": _estimate(study),
        "path": None if study.path is None else _path(study.path, rows),
    }
    plain: dict[str, Any] = plain_json(content)
    return plain


def _thousandths(values: NDArray[Any]) -> list[int | None]:
    return [None if math.isnan(value) else round(value * 1000) for value in values.tolist()]


def _digits(roles: NDArray[Any]) -> str:
    code = {name: str(index) for index, name in enumerate(ROLES)}
    return "".join(code.get(str(role), "-") for role in roles)


def _estimate(study: StudyResults) -> dict[str, Any] | None:
    """Rank correlation of the estimate with ablation, and a warning where it is low."""
    if not {"ablation_score", "estimate_score"} <= set(study.heads):
        return None
    scores = (study.heads[name].to_numpy() for name in ("estimate_score", "ablation_score"))
    correlation = rank_correlation(*scores)
    return {"correlation": correlation, "sure": correlation >= SURE_ESTIMATE}


def _path(path: PathScores, rows: tuple[NDArray[Any], NDArray[Any]]) -> dict[str, Any]:
    """Facilitation of every head at every strength, `[strength][row of the csv]`."""
    gates = path.scores["facilitation"]
    return {
        "lambdas": list(path.lambdas),
        "facilitation": [_thousandths(matrix[rows]) for matrix in gates],
    }

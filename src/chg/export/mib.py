"""Rankings as the Mechanistic Interpretability Benchmark reads them: `importances.json`.

Nodes are `input`, `a{layer}.h{head}` and `m{layer}`, without edges, as `Graph.from_json` of the
EAP-IG package reads them. It keeps nodes without a score at every size: the input, and the MLPs
unless they have gates too (`--unit head_and_mlp`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from chg.errors import ResultsError
from chg.files import write_json
from chg.results import Ranking, StudyResults


def mib_importances(study: StudyResults) -> dict[str, Any]:
    """Make the content of `importances.json` at node level from a study's ranking.

    Scores are shares of the heads that stand at a head's place or behind it, above 0 to 1, because
    the benchmark ranks by absolute values. In the graph are the fewest heads that were measured to
    reach 90 % of what all do, or all heads where that was not measured.

    Raises:
        ResultsError: gates are of key-value groups; or the study does not describe its model as
            far as is needed, because an older version made it.
    """
    if study.unit == "kv_group":
        raise ResultsError("the benchmark's nodes are heads; this study gates groups of them")
    model = study.manifest.get("model") or {}
    if "hidden_size" not in model:
        raise ResultsError(
            "the study does not say how wide its model is, because an older version made it; run "
            "it again"
        )
    ranking = Ranking("own", study.ranking[None])
    places, kept = ranking.places(0), ranking.first(0, _size(study))
    layers, columns = places.shape
    heads = columns - (study.unit == "head_and_mlp")
    count = int(np.isfinite(places).sum())
    nodes: dict[str, Any] = {"input": {"in_graph": True}}
    for layer in range(layers):
        nodes[f"m{layer}"] = {"in_graph": True}
        for column in np.flatnonzero(np.isfinite(places[layer])).tolist():
            name = f"a{layer}.h{column}" if column < heads else f"m{layer}"
            score = (count - float(places[layer, column])) / count
            nodes[name] = {"in_graph": bool(kept[layer, column]), "score": score}
    config = {
        "n_layers": layers,
        "n_heads": heads,
        "parallel_attn_mlp": bool(model["parallel_mlp"]),
        "d_model": int(model["hidden_size"]),
    }
    return {"cfg": config, "nodes": nodes, "edges": {}}


def save_mib(study: StudyResults, path: str | Path) -> Path:
    """Write `importances.json`, atomically; returns the path.

    Raises:
        ResultsError: as `mib_importances`.
        OutputError: `path` cannot be written.
    """
    write_json(path, mib_importances(study), allow_nan=False)
    return Path(path)


def _size(study: StudyResults) -> int:
    """Count the heads of the circuit."""
    found = study.faithfulness
    if found is None:
        return len(study.heads)
    best = next(curve for curve in found.curves if curve.ranking == study.ranking_name)
    size = found.size_reaching(best)
    return len(study.heads) if size is None else size

"""From results on disk to a folder of pictures, a ranking and a summary."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from chg.config import AnalysisConfig
from chg.errors import GateError
from chg.gating import HeadGates
from chg.results import AblationResult, Taxonomy, classify_heads

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Analysis:
    """Everything the report shows, read and checked once."""

    result: AblationResult
    gates: NDArray[np.float64]
    """`[layer, head]`: the gate file's values; 1 without a gate file."""
    has_gate_file: bool
    retention: NDArray[np.float64] | None
    removal: NDArray[np.float64] | None
    taxonomy: Taxonomy | None
    rankings: pd.DataFrame
    """One row per head, most important first; the columns of `head_rankings.csv`."""

    @property
    def score_label(self) -> str:
        """What a score is, with its unit."""
        kind = {"zero": "", "mean": ", mean ablation", "resample": ", resample ablation"}
        to = kind[self.result.ablation]
        if self.result.mode == "sequential":
            return f"change at the head's step, {self.result.order} order{to} (nats per token)"
        how = {"exact": "", "screening": ", screened in bfloat16", "estimate": ", estimated"}
        return f"importance score{how[self.result.method]}{to} (nats per token)"

    @property
    def title(self) -> str:
        """Model and data, for the head of every picture."""
        return f"{_short(self.result.model)} on {_short(self.result.dataset)}"


def read_analysis(config: AnalysisConfig) -> Analysis:
    """Read the results and gate files, and see that they belong together.

    Raises:
        ResultsError, GateFileError: an input cannot be read.
        GateError: the inputs belong to models of different shape.
    """
    result = AblationResult.load(config.results)
    matrices = []
    for path in (config.gates, config.gates_retention, config.gates_removal):
        gates = None if path is None else HeadGates.load(path)
        if gates is not None and tuple(gates.logits.shape) != result.shape:
            raise GateError(
                f"{path} holds {gates.num_layers} layers x {gates.num_heads} heads, the results "
                f"{result.shape[0]} x {result.shape[1]}; they belong to different models"
            )
        matrices.append(gates)
    own, retention, removal = matrices
    both = retention is not None and removal is not None
    taxonomy = classify_heads(retention.values, removal.values) if both else None  # type: ignore[union-attr]
    open_heads = np.where(np.isnan(result.scores), np.nan, 1.0)
    gates_shown = open_heads if own is None else own.values.double().numpy()
    return Analysis(
        result=result,
        gates=gates_shown,
        has_gate_file=own is not None,
        retention=None if retention is None else retention.values.double().numpy(),
        removal=None if removal is None else removal.values.double().numpy(),
        taxonomy=taxonomy,
        rankings=_rankings(result, gates_shown, taxonomy),
    )


def _rankings(
    result: AblationResult, gates: NDArray[np.float64], taxonomy: Taxonomy | None
) -> pd.DataFrame:
    import pandas as pd

    layers, heads = np.indices(result.shape)
    columns: dict[str, Any] = {
        "layer": layers,
        "head": heads,
        "score": result.scores,
        "stderr": result.stderrs,
        "gate": gates,
    }
    if result.method != "exact":
        columns["exact"] = result.exact
    if result.ablation != "zero":
        columns["ablation"] = np.full(result.shape, result.ablation)
    if taxonomy is not None:
        columns |= {
            "facilitation": taxonomy.facilitation,
            "interference": taxonomy.interference,
            "irrelevance": taxonomy.irrelevance,
            "role": taxonomy.roles,
        }
    table = pd.DataFrame({name: matrix.ravel() for name, matrix in columns.items()})
    # Entries of the gate matrix that are no heads have no score.
    table = table.dropna(subset="score").sort_values("score", kind="stable", ignore_index=True)
    table.insert(0, "rank", np.arange(1, len(table) + 1))
    return table


def _short(name: str) -> str:
    """The end of a long path is what tells it apart."""
    return name if len(name) <= 48 else f"...{name[-45:]}"

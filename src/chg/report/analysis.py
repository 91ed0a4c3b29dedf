"""Ablation results and gate files of one model, read together, checked and ranked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from chg.config import ABLATION_WORDS, AnalysisConfig
from chg.errors import GateError
from chg.files import short_name
from chg.gating import HeadGates
from chg.results import AblationResult, Taxonomy, classify_heads

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Analysis:
    """Content of an analysis: results, gates, roles and a ranking of heads."""

    result: AblationResult
    gates: NDArray[np.float64]
    """Values of the gate file, `[layer, head]`; without one, 1 for every head."""
    has_gate_file: bool
    """True if `gates` were read from a file."""
    retention: NDArray[np.float64] | None
    """Gates of a retention fit (G+), `[layer, head]`."""
    removal: NDArray[np.float64] | None
    """Gates of a removal fit (G-), `[layer, head]`."""
    taxonomy: Taxonomy | None
    """Scores and roles; None unless both fits were given."""
    rankings: pd.DataFrame
    """One row per head, most important first; the columns of `head_rankings.csv`."""

    @property
    def score_label(self) -> str:
        """Name of the score, with its unit."""
        ablation = ABLATION_WORDS[self.result.ablation].label
        if self.result.mode == "sequential":
            return (
                f"change at the head's step, {self.result.order} order{ablation} (nats per token)"
            )
        method = {"exact": "", "screening": ", screened in bfloat16", "estimate": ", estimated"}
        return f"importance score{method[self.result.method]}{ablation} (nats per token)"

    @property
    def title(self) -> str:
        """Model and data, for the title of every picture."""
        return f"{short_name(self.result.model)} on {short_name(self.result.dataset)}"


def read_analysis(config: AnalysisConfig) -> Analysis:
    """Read the results and gate files, and see that they belong together.

    Raises:
        ResultsError, GateFileError: an input cannot be read.
        GateError: the inputs belong to models of different shape.
    """
    result = AblationResult.load(config.results)
    given, retention, removal = (
        _read_gates(path, result.shape)
        for path in (config.gates, config.gates_retention, config.gates_removal)
    )
    taxonomy = None
    if retention is not None and removal is not None:
        taxonomy = classify_heads(retention, removal)
    all_open = np.where(np.isnan(result.scores), np.nan, 1.0)
    gates = all_open if given is None else given.double().numpy()
    return Analysis(
        result=result,
        gates=gates,
        has_gate_file=given is not None,
        retention=None if retention is None else retention.double().numpy(),
        removal=None if removal is None else removal.double().numpy(),
        taxonomy=taxonomy,
        rankings=_rankings(result, gates, taxonomy),
    )


def _read_gates(path: str | None, shape: tuple[int, int]) -> Tensor | None:
    """Values of a gate file, `[layer, head]`; None without a path."""
    if path is None:
        return None
    gates = HeadGates.load(path)
    if tuple(gates.logits.shape) != shape:
        raise GateError(
            f"{path} holds {gates.num_layers} layers x {gates.num_heads} heads, the results "
            f"{shape[0]} x {shape[1]}; they belong to different models"
        )
    return gates.values


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

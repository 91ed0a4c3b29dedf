"""Results of a study: the data of many fits, an ablation and a causal check, read from a folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from chg.config import StudyConfig, Unit, head_label
from chg.errors import ResultsError
from chg.files import MANIFEST, read_json
from chg.results.agreement import Agreement
from chg.results.causal import CausalCurve, Correlation, read_checks
from chg.results.convergence import Convergence
from chg.results.stages import STAGES, LogitsOfStudy, Stage
from chg.results.study_scores import PathScores, read_path, read_scores

if TYPE_CHECKING:
    import pandas as pd
    from typing_extensions import Self

GATES = "gates.safetensors"
METRICS = "metrics.jsonl"
CHECKS = "checks.json"
"""Files of a study's folder."""


@dataclass(frozen=True)
class StudyResults:
    """Data of a finished study; `load(folder)` reads it back."""

    manifest: Mapping[str, Any]
    """Plain JSON: model, data, configuration, versions, times, and held-out metrics (`figures`)."""
    seeds: tuple[int, ...]
    logits: Mapping[Stage, NDArray[np.float32]]
    """Stage -> `[seed, layer, head]`; NaN where there is no head."""
    scores: Mapping[str, NDArray[np.float64]]
    """`facilitation`, `irrelevance`, `interference` -> `[seed, layer, head]`."""
    roles: NDArray[Any]
    """`[seed, layer, head]`: the role in each seed alone; empty where there is no head."""
    heads: pd.DataFrame
    """One row per head, as `heads.csv`."""
    metrics: pd.DataFrame
    """One row per update, fit and stage: `stage, lambda_reg, seed, step, loss, open, closed,
    middle, held_out_nll` (the last only where it was measured)."""
    checks: tuple[CausalCurve, ...]
    correlations: tuple[Correlation, ...]
    agreement: Agreement
    path: PathScores | None = None

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read a finished study.

        Raises:
            ResultsError: the study is missing, unfinished or damaged.
        """
        folder = Path(folder)
        if not (folder / MANIFEST).is_file():
            raise ResultsError(f"{folder} holds no study; make one with `chg study --out {folder}`")
        manifest = read_json(folder / MANIFEST)
        if manifest.get("status") != "complete":
            raise ResultsError(f"the study in {folder} is not finished; go on with --resume")
        return cls.read(folder, manifest)

    @classmethod
    def read(cls, folder: Path, manifest: Mapping[str, Any]) -> Self:
        """Read the files of a study whose manifest is known.

        Raises:
            ResultsError: a file is missing or damaged.
        """
        import pandas as pd

        try:
            config = StudyConfig(**manifest["configuration"])
            heads = pd.read_parquet(folder / "heads.parquet")
            lines = (folder / METRICS).read_text(encoding="utf-8").splitlines()
            metrics = pd.DataFrame([json.loads(line) for line in lines])
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise ResultsError(f"the study in {folder} is damaged: {error}") from error
        logits = LogitsOfStudy.load(folder / GATES)
        scores = read_scores(logits, config)
        checks, correlations = read_checks(folder / CHECKS)
        return cls(
            manifest=manifest,
            seeds=tuple(manifest["seeds"]),
            logits={stage: logits.main[stage].numpy() for stage in STAGES},
            scores=scores.by_name,
            roles=scores.roles,
            heads=heads,
            metrics=metrics,
            checks=checks,
            correlations=correlations,
            agreement=scores.agreement,
            path=read_path(logits, config),
        )

    @property
    def unit(self) -> Unit:
        """Unit that has a gate: a query head, or a key-value group of query heads."""
        return "kv_group" if self.manifest.get("unit") == "kv_group" else "head"

    @property
    def convergence(self) -> Convergence:
        """Motion of every fit over the last fifth of its updates."""
        return Convergence.from_json(self.manifest.get("convergence"))

    def gates(self, stage: Stage) -> NDArray[np.float64]:
        """Gates of a stage in [0, 1], `[seed, layer, head]`; NaN where there is no head."""
        return np.asarray(1 / (1 + np.exp(-self.logits[stage].astype(np.float64))))

    def metrics_of(self, stage: Stage) -> pd.DataFrame:
        """Rows of `metrics` of one stage, at the study's own strength of regularisation."""
        rows = self.metrics[self.metrics["stage"] == stage]
        strength = self.manifest.get("configuration", {}).get("lambda_reg")
        at_strength = rows["lambda_reg"].abs().isin([0.0, strength])
        return rows[at_strength] if strength is not None else rows

    def name(self, layer: int, head: int) -> str:
        """Name of a head, `L3H7`, or of a key-value group, `L3G1`."""
        return head_label(layer, head, self.unit)

    def matrix(self, column: str, missing: Any = np.nan) -> NDArray[Any]:
        """A column of `heads` as `[layer, head]`; `missing` where there is no head."""
        values = self.heads[column].to_numpy()
        matrix = np.full(self.roles.shape[1:], missing, dtype=object)
        matrix[self.heads["layer"], self.heads["head"]] = values
        return matrix.astype(str if isinstance(missing, str) else np.float64)

"""A study: what many fits, an ablation and a causal check say about every head together."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from chg.config import StudyConfig, Unit
from chg.errors import ResultsError
from chg.files import read_json
from chg.results.agreement import Agreement
from chg.results.causal import CausalCurve, Correlation, read_checks
from chg.results.stages import STAGES, LogitsOfStudy, Stage
from chg.results.study_scores import PathScores, read_path, read_scores

if TYPE_CHECKING:
    import pandas as pd
    from typing_extensions import Self


CONFIG, MANIFEST, GATES, METRICS, CHECKS = (
    "config.yaml",
    "manifest.json",
    "gates.safetensors",
    "metrics.jsonl",
    "checks.json",
)
"""Files of a study's folder."""


@dataclass(frozen=True)
class StudyResults:
    """Everything a study found; `Study.load(folder)` reads it back."""

    manifest: Mapping[str, Any]
    """What was run: model, data, configuration, versions, times, figures. Plain JSON."""
    seeds: tuple[int, ...]
    logits: Mapping[Stage, NDArray[np.float32]]
    """`[seed, layer, head]` per stage; NaN where there is no head."""
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
            ResultsError: it is missing, unfinished or damaged.
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
            ResultsError: one is missing or damaged.
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
        """What has a gate: a head, or a group of them."""
        return "kv_group" if self.manifest.get("unit") == "kv_group" else "head"

    def metrics_of(self, stage: Stage) -> pd.DataFrame:
        """The lines of one stage, at the study's own strength of regularisation."""
        own = self.metrics[self.metrics["stage"] == stage]
        strength = self.manifest.get("configuration", {}).get("lambda_reg")
        at_strength = own["lambda_reg"].abs().isin([0.0, strength])
        return own[at_strength] if strength is not None else own

    def name(self, layer: int, head: int) -> str:
        """`L3H7`, or `L3G1` for a key-value group."""
        return f"L{layer}{'H' if self.unit == 'head' else 'G'}{head}"

    def matrix(self, column: str, missing: Any = np.nan) -> NDArray[Any]:
        """`[layer, head]`: a column of `heads` where it belongs, `missing` where no head is."""
        values = self.heads[column].to_numpy()
        matrix = np.full(self.roles.shape[1:], missing, dtype=object)
        matrix[self.heads["layer"], self.heads["head"]] = values
        return matrix.astype(str if isinstance(missing, str) else np.float64)

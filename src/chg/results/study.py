"""Results of a study: the data of many fits, an ablation and a causal check, read from a folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from chg.config import UNIT_NAMES, Metric, Stage, StudyConfig, Unit, head_label
from chg.errors import ResultsError
from chg.results.agreement import Agreement
from chg.results.causal import CausalCurve, Checks, Correlation, GroupEffect, read_checks
from chg.results.competence import Competence
from chg.results.convergence import Convergence
from chg.results.faithfulness import BUDGETED, FACILITATION, Faithfulness
from chg.results.known_heads import KnownHeads, known_heads
from chg.results.redundancy import RedundantPair
from chg.results.stages import STAGES, LogitsOfStudy
from chg.results.study_files import read_heads, read_manifest, read_metrics
from chg.results.study_scores import PathScores, read_path, read_scores

if TYPE_CHECKING:
    import pandas as pd
    from typing_extensions import Self

GATES = "gates.safetensors"
METRICS = "metrics.jsonl"
HEADS = "heads.parquet"
CHECKS = "checks.json"
FAITHFULNESS = "faithfulness.json"
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
    proofs: Checks
    """Effects of closing heads together, the causal check, and rank correlations."""
    agreement: Agreement
    path: PathScores | None = None
    faithfulness: Faithfulness | None = None
    """Effects of keeping the first heads of its rankings; None without the budgeted fit."""

    def __repr__(self) -> str:
        layers, heads = self.roles.shape[1:]
        counts = self.heads["role"].value_counts()
        roles = ", ".join(f"{count} {role}" for role, count in counts.items())
        return (
            f"<{type(self).__name__} of {self.manifest.get('title')}, {len(self.seeds)} seeds, "
            f"{layers} layers x {heads} {UNIT_NAMES[self.unit][1]}: {roles}>"
        )

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read a finished study.

        Raises:
            ResultsError: the study is missing, unfinished or damaged.
        """
        folder = Path(folder)
        return cls.read(folder, read_manifest(folder))

    @classmethod
    def read(cls, folder: Path, manifest: Mapping[str, Any]) -> Self:
        """Read the files of a study whose manifest is known.

        Raises:
            ResultsError: a file is missing or damaged.
        """
        config = StudyConfig(**manifest["configuration"])
        logits = LogitsOfStudy.load(folder / GATES)
        _require_same_fits(folder, manifest["seeds"], config, logits)
        scores = read_scores(logits, config)
        proofs = read_checks(folder / CHECKS)
        curves = folder / FAITHFULNESS
        return cls(
            manifest=manifest,
            seeds=tuple(manifest["seeds"]),
            logits={stage: logits.main[stage].numpy() for stage in STAGES},
            scores=scores.by_name,
            roles=scores.roles,
            heads=read_heads(folder / HEADS, scores.roles.shape[1:]),
            metrics=read_metrics(folder / METRICS),
            proofs=proofs,
            agreement=scores.agreement,
            path=read_path(logits, config),
            faithfulness=Faithfulness.load(curves) if curves.is_file() else None,
        )

    @property
    def competence(self) -> Competence | None:
        """Figures of the ungated model, and whether it does the task; None in old studies."""
        content = self.manifest.get("competence")
        return None if content is None else Competence.from_dict(content)

    @property
    def checks(self) -> tuple[CausalCurve, ...]:
        """Curves of the causal check; empty where it was left out."""
        return self.proofs.curves

    @property
    def correlations(self) -> tuple[Correlation, ...]:
        """Rank correlations of scores with measured effects."""
        return self.proofs.correlations

    @property
    def groups(self) -> tuple[GroupEffect, ...]:
        """Effect of closing all heads of each role together."""
        return self.proofs.groups

    @property
    def redundant(self) -> tuple[RedundantPair, ...]:
        """Pairs of heads of which either suffices, proven by ablation; the clearest first."""
        return self.proofs.redundant

    @property
    def known_heads(self) -> tuple[KnownHeads, ...]:
        """Heads with the same attention pattern, beside all others: do gates find them?

        Groups of three heads or more; empty where patterns were not measured.
        """
        return known_heads(self.heads)

    @property
    def ranking_name(self) -> str:
        """Name of the study's ranking: the budgeted fit, or facilitation.

        The one with the lower CMD on held-out rows; facilitation where there is none.
        """
        found = self.faithfulness
        curves = found.curves if found is not None and found.defined else ()  # the best first
        own = (curve.ranking for curve in curves if curve.ranking in (BUDGETED, FACILITATION))
        return next(own, FACILITATION)

    @property
    def ranking(self) -> NDArray[np.float64]:
        """Scores that order heads for keeping the first of them, `[layer, head]`, highest first."""
        budgeted = self.ranking_name == BUDGETED
        return self.matrix("budgeted_score" if budgeted else "facilitation_mean")

    @property
    def unit(self) -> Unit:
        """Unit that has a gate: a query head, a key-value group of them, or heads and MLPs."""
        unit: Unit = self.manifest.get("unit", "head")
        return unit

    @property
    def metric(self) -> Metric:
        """Measure that gates were to keep, and that ablation changes."""
        metric: Metric = self.manifest.get("configuration", {}).get("metric", "logprob")
        return metric

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
        """Name of a head, `L3H7`, of a key-value group, `L3G1`, or of an MLP, `L3MLP`."""
        return head_label(layer, head, self.unit, self.roles.shape[2])

    def matrix(self, column: str, missing: Any = np.nan) -> NDArray[Any]:
        """A column of `heads` as `[layer, head]`; `missing` where there is no head."""
        values = self.heads[column].to_numpy()
        matrix = np.full(self.roles.shape[1:], missing, dtype=object)
        matrix[self.heads["layer"], self.heads["head"]] = values
        return matrix.astype(str if isinstance(missing, str) else np.float64)


def _require_same_fits(
    folder: Path, seeds: Sequence[int], config: StudyConfig, logits: LogitsOfStudy
) -> None:
    """See that manifest and gates are of as many seeds and strengths."""
    found = len(logits.main["initial"]), *(len(path) for path in logits.path.values())
    said = len(seeds), *(len(config.lambdas) for _ in logits.path)
    if found != said:
        raise ResultsError(
            f"the study in {folder} contradicts itself: its gates are of {found[0]} seeds at "
            f"{found[-1] if logits.path else 1} strengths, its manifest of {said[0]} at "
            f"{len(config.lambdas)}"
        )

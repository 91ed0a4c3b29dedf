"""From the fits of a study to scores, roles and one table of heads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor

from chg.causal_check import Correlation
from chg.config import StudyConfig
from chg.errors import ResultsError
from chg.files import atomic_path
from chg.stages import Fitted, Stage
from chg.statistics import Agreement, agreement_of, bootstrap_interval, rank_correlation
from chg.study_folder import read_tensors
from chg.taxonomy import ROLES, SCORES, classify_heads, role_over_seeds, role_shares

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Effects:
    """What was measured of every head on held-out rows, each `[layer, head]`, nats per token."""

    ablation: NDArray[np.float64]
    """Individual ablation, all other heads open."""
    stderr: NDArray[np.float64]
    estimate: NDArray[np.float64]
    """The same from gradients."""


@dataclass(frozen=True)
class LogitsOfStudy:
    """Logits of every seed and stage, NaN where there is no head."""

    main: Mapping[Stage, Float[Tensor, "seed layer head"]]
    """At the study's strength of regularisation."""
    path: Mapping[Stage, Float[Tensor, "lambda seed layer head"]]
    """Retention and removal at every strength; empty where there is one alone."""

    @classmethod
    def of(cls, initial: Fitted, pushed: Fitted, config: StudyConfig) -> LogitsOfStudy:
        """From the fits."""
        main: dict[Stage, Tensor] = {"initial": initial.logits}
        path: dict[Stage, Tensor] = {}
        stages: tuple[Stage, ...] = ("retention", "removal")
        for stage in stages:
            main[stage] = pushed.of(stage, config.lambda_reg)
            if len(config.lambdas) > 1:
                path[stage] = torch.stack([pushed.of(stage, one) for one in config.lambdas])
        return cls(main, path)

    def save(self, file: Path) -> None:
        """Write `gates.safetensors`."""
        tensors = {str(stage): logits.contiguous() for stage, logits in self.main.items()}
        tensors |= {f"path_{stage}": logits.contiguous() for stage, logits in self.path.items()}
        with atomic_path(file) as temporary:
            save_file(tensors, temporary)

    @classmethod
    def load(cls, file: Path) -> LogitsOfStudy:
        """Read it back.

        Raises:
            ResultsError: it is missing, damaged or of another kind.
        """
        tensors, _ = read_tensors(file)
        stages: tuple[Stage, ...] = ("initial", "retention", "removal")
        try:
            main = {stage: tensors[stage] for stage in stages}
        except KeyError as error:
            raise ResultsError(f"{file} holds no gates of a study: {error} is missing") from error
        path = {stage: tensors[f"path_{stage}"] for stage in stages if f"path_{stage}" in tensors}
        return cls(main, path)


@dataclass(frozen=True)
class StudyScores:
    """Scores and roles of every head in every seed."""

    by_name: Mapping[str, NDArray[np.float64]]
    """Score -> `[seed, layer, head]`."""
    roles: NDArray[Any]
    """`[seed, layer, head]`."""
    retention: Float[Tensor, "seed layer head"]
    """Logits of G+."""

    @cached_property
    def agreement(self) -> Agreement:
        """How far the seeds agree."""
        return agreement_of(self.by_name, self.roles == "facilitating")

    def correlations(self, effects: Effects) -> tuple[Correlation, ...]:
        """Every score, mean over seeds, against ablation at G = 1 and the estimate."""
        measured = {
            "ablation at G = 1": effects.ablation,
            "gradient estimate at G = 1": effects.estimate,
        }
        return tuple(
            Correlation(name, effect, rank_correlation(self.by_name[name].mean(0), values))
            for effect, values in measured.items()
            for name in SCORES
        )


@dataclass(frozen=True)
class PathScores:
    """Roles under several strengths of regularisation."""

    lambdas: tuple[float, ...]
    """|lambda|, rising."""
    roles: NDArray[Any]
    """`[lambda, layer, head]`: the role over all seeds at that strength."""
    scores: Mapping[str, NDArray[np.float64]]
    """`facilitation`, `irrelevance`, `interference` -> `[lambda, layer, head]`, mean over seeds."""


def read_scores(logits: LogitsOfStudy, config: StudyConfig) -> StudyScores:
    """Scores and roles at the study's own strength."""
    scores, roles = _read(logits.main["retention"], logits.main["removal"], config)
    return StudyScores(scores, roles, logits.main["retention"])


def read_path(logits: LogitsOfStudy, config: StudyConfig) -> PathScores | None:
    """Roles and mean scores at every strength, where there are several."""
    if not logits.path:
        return None
    roles, scores = [], []
    for retention, removal in zip(logits.path["retention"], logits.path["removal"], strict=True):
        of_seeds, roles_of_seeds = _read(retention, removal, config)
        roles.append(role_over_seeds(roles_of_seeds, config.agreement))
        scores.append({name: values.mean(0) for name, values in of_seeds.items()})
    stacked = {name: np.stack([one[name] for one in scores]) for name in SCORES}
    return PathScores(config.lambdas, np.stack(roles), stacked)


def _read(
    retention: Tensor, removal: Tensor, config: StudyConfig
) -> tuple[dict[str, NDArray[np.float64]], NDArray[Any]]:
    taxonomy = classify_heads(
        torch.sigmoid(retention),
        torch.sigmoid(removal),
        open_above=config.open_above,
        closed_below=config.closed_below,
    )
    return {name: getattr(taxonomy, name) for name in SCORES}, taxonomy.roles


def heads_table(
    scores: StudyScores, effects: Effects, path: PathScores | None, config: StudyConfig
) -> pd.DataFrame:
    """One row per head, as `heads.csv`."""
    import pandas as pd

    roles = scores.roles
    overall = role_over_seeds(roles, config.agreement)
    exists = overall != ""
    layers, heads = np.nonzero(exists)
    columns: dict[str, Any] = {"layer": layers, "head": heads, "role": overall[exists]}
    for name, values in scores.by_name.items():
        own = values[:, exists]
        low, high = bootstrap_interval(own)
        columns |= {
            f"{name}_mean": own.mean(0),
            f"{name}_low": low,
            f"{name}_high": high,
            f"{name}_min": own.min(0),
            f"{name}_max": own.max(0),
        }
    shares = role_shares(roles[:, exists])
    columns |= {f"share_{role}": shares[role] for role in list(ROLES)[:3]}
    for role in ("facilitating", "interfering"):
        columns[f"any_{role}"] = shares[role] > 0
        columns[f"always_{role}"] = shares[role] == 1
    columns["ablation_score"] = effects.ablation[exists]
    columns["ablation_stderr"] = effects.stderr[exists]
    columns["estimate_score"] = effects.estimate[exists]
    if path is not None:
        low, high = _lambda_range(path, overall, config.lambda_reg)
        columns |= {"lambda_low": low[exists], "lambda_high": high[exists]}
    return pd.DataFrame(columns)


def _lambda_range(
    path: PathScores, overall: NDArray[Any], strength: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """From which to which strength around the study's own a head's role stays the same."""
    lambdas = list(path.lambdas)
    own = lambdas.index(strength)
    low, high = np.full((2, *overall.shape), strength)
    for bound, places in ((low, range(own - 1, -1, -1)), (high, range(own + 1, len(lambdas)))):
        holding = np.ones(overall.shape, dtype=bool)
        for place in places:
            holding &= path.roles[place] == overall
            bound[holding] = lambdas[place]
    return low, high

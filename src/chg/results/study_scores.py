"""Scores and roles of heads, read from the logits of a study."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from chg.config import StudyConfig
from chg.results.agreement import Agreement, agreement_of, rank_correlation
from chg.results.causal import Correlation
from chg.results.roles import SCORES, classify_heads, role_over_seeds
from chg.results.stages import LogitsOfStudy


@dataclass(frozen=True)
class Effects:
    """Measured effects of every head on held-out rows, each `[layer, head]`, nats per token."""

    ablation: NDArray[np.float64]
    """Scores of individual ablation, all other heads open."""
    stderr: NDArray[np.float64]
    """Standard errors of `ablation` over sequences."""
    estimate: NDArray[np.float64]
    """Estimates of `ablation` from gradients."""


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
        """Agreement of the seeds."""
        return agreement_of(self.by_name, self.roles == "facilitating")

    def correlations(self, effects: Effects) -> tuple[Correlation, ...]:
        """Rank correlation of each mean score with ablation at G = 1 and with its estimate."""
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
    """Strengths |lambda|, ascending."""
    roles: NDArray[Any]
    """Role over all seeds at each strength, `[lambda, layer, head]`."""
    scores: Mapping[str, NDArray[np.float64]]
    """`facilitation`, `irrelevance`, `interference` -> `[lambda, layer, head]`, mean over seeds."""


def read_scores(logits: LogitsOfStudy, config: StudyConfig) -> StudyScores:
    """Scores and roles at the study's own strength."""
    scores, roles = _read(logits.main["retention"], logits.main["removal"], config)
    return StudyScores(scores, roles, logits.main["retention"])


def read_path(logits: LogitsOfStudy, config: StudyConfig) -> PathScores | None:
    """Roles and mean scores at every strength; None where the study has one strength."""
    if not logits.path:
        return None
    roles, scores = [], []
    for retention, removal in zip(logits.path["retention"], logits.path["removal"], strict=True):
        of_seeds, roles_of_seeds = _read(retention, removal, config)
        roles.append(role_over_seeds(roles_of_seeds, config.agreement))
        scores.append({name: values.mean(0) for name, values in of_seeds.items()})
    stacked = {name: np.stack([means[name] for means in scores]) for name in SCORES}
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

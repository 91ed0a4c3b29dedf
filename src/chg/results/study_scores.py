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
from chg.results.roles import (
    SCORES,
    classify_heads,
    gates_moved,
    in_family,
    role_over_seeds,
    roles_at_rest,
)
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
    sequences: int
    """Held-out rows that the scores are means over."""
    at_retention: NDArray[np.float64] | None = None
    """Scores of closing a head, all others at G+ of the first seed; None where not measured."""
    at_retention_stderr: NDArray[np.float64] | None = None
    """Standard errors of `at_retention` over sequences."""
    sequences_at_retention: int = 0
    """Held-out rows that `at_retention` is a mean over."""


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
        return agreement_of(self.by_name, in_family(self.roles, "facilitation"))

    def correlations(self, effects: Effects) -> tuple[Correlation, ...]:
        """Rank correlation of each score with ablation and with its estimate.

        At G = 1 of the mean over seeds; at G+ of the first seed, whose gates those are.
        """
        measured = [
            ("ablation at G = 1", effects.ablation, self.mean),
            ("gradient estimate at G = 1", effects.estimate, self.mean),
        ]
        if effects.at_retention is not None:
            first = {name: values[0] for name, values in self.by_name.items()}
            measured.append(("ablation at G+ (first seed)", effects.at_retention, first))
        return tuple(
            Correlation(name, effect, rank_correlation(scores[name], values))
            for effect, values, scores in measured
            for name in SCORES
        )

    @property
    def mean(self) -> dict[str, NDArray[np.float64]]:
        """Score -> its mean over seeds, `[layer, head]`."""
        return {name: values.mean(0) for name, values in self.by_name.items()}


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
    """Scores and roles at the study's own strength; heads that had not come to rest have none."""
    retention, removal = logits.main["retention"], logits.main["removal"]
    scores, roles = _read(retention, removal, config)
    if {"retention", "removal"} <= logits.earlier.keys():
        plus, minus = logits.earlier["retention"], logits.earlier["removal"]
        moved = gates_moved(plus, retention) | gates_moved(minus, removal)
        roles = roles_at_rest(roles, _read(plus, minus, config)[1], moved)
    return StudyScores(scores, roles, retention)


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
    retention: Tensor,
    removal: Tensor,
    config: StudyConfig,
) -> tuple[dict[str, NDArray[np.float64]], NDArray[Any]]:
    taxonomy = classify_heads(
        torch.sigmoid(retention),
        torch.sigmoid(removal),
        open_above=config.open_above,
        closed_below=config.closed_below,
    )
    return {name: getattr(taxonomy, name) for name in SCORES}, taxonomy.roles

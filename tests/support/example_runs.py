"""Studies with gates that a test chooses: roles and tables follow from them."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from chg.report import Study
from chg.results.agreement import agreement_of
from chg.results.heads_table import heads_table
from chg.results.roles import classify_heads, in_family, role_over_seeds
from chg.results.study_scores import Effects, StudyScores
from support.example_study import example_study

CLOSED, OPEN = 0.02, 0.98


def study_of_gates(
    removal: NDArray[np.float64],
    retention: NDArray[np.float64] | None = None,
    ablation: NDArray[np.float64] | None = None,
    *,
    first_seed: int = 42,
    **manifest: Any,
) -> Study:
    """A study of these gates, each `[seed, layer, head]`; G+ is open unless given.

    Args:
        removal: gates of G-.
        retention: gates of G+.
        ablation: scores of individual ablation, `[layer, head]`, with standard errors of 0.01.
        first_seed: number of the first seed.
        manifest: fields that take the place of those of the example.
    """
    seeds, layers, heads = removal.shape
    plus = np.full(removal.shape, OPEN) if retention is None else retention
    found = classify_heads(torch.from_numpy(plus), torch.from_numpy(removal))
    by_seed = {
        "facilitation": found.facilitation,
        "irrelevance": found.irrelevance,
        "interference": found.interference,
    }
    scores = np.zeros((layers, heads)) if ablation is None else ablation
    effects = Effects(scores, np.full(scores.shape, 0.01), scores, 128)
    of_seeds = StudyScores(by_seed, found.roles, torch.empty(0))
    overall = role_over_seeds(found.roles, 0.8)
    example = example_study(layers, heads, seeds)
    numbers = tuple(range(first_seed, first_seed + seeds))
    content = {**example.manifest, "convergence": None, "seeds": list(numbers), **manifest}
    return dataclasses.replace(
        example,
        manifest=content,
        seeds=numbers,
        scores=by_seed,
        roles=found.roles,
        heads=heads_table(of_seeds, overall, effects, None, {}),
        agreement=agreement_of(by_seed, in_family(found.roles, "facilitation")),
    )

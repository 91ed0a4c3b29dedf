"""Rankings of heads, from whatever orders them: a study, gates, an ablation, scores, chance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from chg.engine import ESTIMATE_POINTS
from chg.errors import GateError
from chg.gating import AnyGates, HeadGates, gate_values, resolve_gates, study_of
from chg.models import AnyModel, HeadSites
from chg.results import BUDGETED, FACILITATION, AblationResult, Ranking, StudyResults

AnyRanking: TypeAlias = Ranking | AblationResult | AnyGates
"""All that orders heads: a `Ranking`; an ablation, most important first; gates or scores, highest
first, in any form that `gated` takes; a study, or its folder, which has several orders."""
RANDOM_ORDERS = 5
STUDY_RANKINGS = 4
"""Orders that a study has."""
PASSES_OF_A_GRADIENT = 3
"""Forward passes that a forward and a backward pass together count as."""


def rankings_of(model: AnyModel, given: AnyRanking | Mapping[str, AnyRanking]) -> list[Ranking]:
    """Make rankings of what orders the heads of a model.

    Args:
        model: the model.
        given: one of the forms above, or several with their names.

    Raises:
        GateError: one does not fit the model, or has no form that is read.
        GateFileError, ResultsError: a file or study is missing or damaged.
    """
    named = given if _is_named(given) else {"given": given}
    assert isinstance(named, Mapping)
    return [ranking for name, one in named.items() for ranking in _of_one(model, name, one)]


def _is_named(given: Any) -> bool:
    """Tell rankings with their names from a dict of gates, which is a ranking itself."""
    return isinstance(given, Mapping) and not all(
        isinstance(value, int | float) for value in given.values()
    )


def _of_one(model: AnyModel, name: str, given: AnyRanking) -> list[Ranking]:
    if isinstance(given, Ranking):
        return [given]
    if isinstance(given, AblationResult):
        return [Ranking(name, -given.scores[None])]
    study = study_of(given)
    if study is not None:
        return study_rankings(study)
    gates = resolve_gates(model, given)
    scores = gates.logits if isinstance(gates, HeadGates) else gate_values(gates)
    return [Ranking(name, scores.detach().double().cpu().numpy()[None])]


def study_rankings(study: StudyResults) -> list[Ranking]:
    """Take the orders that a study has: by its own scores, by ablation, by the estimate.

    The budgeted fit starts from removal gates, so that it costs what all fits of the study do.
    """
    configuration, heads = study.manifest["configuration"], study.heads
    batch = configuration["batch_size"] * configuration["grad_accum_steps"]
    held_out = study.manifest["held_out"]["rows"]
    fits = PASSES_OF_A_GRADIENT * batch * len(study.metrics)
    ranking = PASSES_OF_A_GRADIENT * batch * configuration.get("budget_steps", 0)
    found = {
        BUDGETED: ("budgeted_score", 1, fits + ranking),
        FACILITATION: ("facilitation_mean", 1, fits),
        "ablation": ("ablation_score", -1, len(heads) * held_out),
        "estimate": (
            "estimate_score",
            -1,
            PASSES_OF_A_GRADIENT * len(ESTIMATE_POINTS) * held_out,
        ),
    }
    return [
        Ranking(name, sign * study.matrix(column)[None], passes)
        for name, (column, sign, passes) in found.items()
        if column in heads
    ]


def random_ranking(exists: Bool[Tensor, "layer unit"], seed: int) -> Ranking:
    """Draw five orders, for what any ranking must beat."""
    drawn = np.random.default_rng(seed).random((RANDOM_ORDERS, *exists.shape))
    return Ranking("random", np.where(exists.cpu().numpy(), drawn, np.nan), 0)


def exists_for(sites: HeadSites, rankings: list[Ranking]) -> Bool[Tensor, "layer unit"]:
    """Find the heads that rankings order: those of the unit that has their shape.

    Raises:
        GateError: they are of no unit of this model, or of different ones.
    """
    shapes = {ranking.scores.shape[1:] for ranking in rankings}
    unit = sites.unit_of(torch.from_numpy(rankings[0].scores))
    if unit is None or len(shapes) > 1:
        layers, heads = sites.shape
        found = ", ".join(" x ".join(map(str, shape)) for shape in sorted(shapes))
        raise GateError(
            f"rankings order heads as the model has them, {layers} layers x {heads}; these are "
            f"{found}"
        )
    exists = sites.existing(unit)
    for ranking in rankings:
        if np.isnan(ranking.scores[:, exists.numpy()]).any():
            raise GateError(f"the ranking {ranking.name!r} has no score for some heads")
    return exists

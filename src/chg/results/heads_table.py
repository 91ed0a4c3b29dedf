"""A study's table of heads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from chg.results.disagreement import disagreements
from chg.results.intervals import jeffreys_interval, p_values, q_values, t_interval
from chg.results.roles import FAMILIES, UNDECIDED, seeds_for
from chg.results.study_scores import Effects, PathScores, StudyScores

if TYPE_CHECKING:
    import pandas as pd


def heads_table(
    scores: StudyScores,
    overall: NDArray[Any],
    effects: Effects,
    tolerance: float | None,
    further: Mapping[str, NDArray[np.float64]],
) -> pd.DataFrame:
    """Table with one row per head, the columns those of `heads.csv`.

    Args:
        scores: scores and roles of every seed.
        overall: role over all seeds, `[layer, head]`.
        effects: what ablation measured.
        tolerance: nats per token that count as about zero.
        further: columns that some studies have, each `[layer, head]`: `lambda_low` and
            `lambda_high` (`lambda_range`), scores of attention patterns.
    """
    import pandas as pd

    exists = overall != ""
    layers, heads = np.nonzero(exists)
    columns: dict[str, Any] = {"layer": layers, "head": heads, "role": overall[exists]}
    columns |= _seeds(scores.roles[:, exists], overall[exists])
    for name, values in scores.by_name.items():
        by_seed = values[:, exists]
        low, high = t_interval(by_seed)
        columns |= {
            f"{name}_mean": by_seed.mean(0),
            f"{name}_low": np.clip(low, 0, 1),
            f"{name}_high": np.clip(high, 0, 1),
            f"{name}_min": by_seed.min(0),
            f"{name}_max": by_seed.max(0),
        }
    columns |= {name: values[exists] for name, values in _ablation(effects).items()}
    columns["disagrees"] = disagreements(overall, scores.roles[0], effects, tolerance)[exists]
    columns |= {name: values[exists] for name, values in further.items()}
    return pd.DataFrame(columns)


def _seeds(roles: NDArray[Any], overall: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Count the seeds that give every head its role, and take the share that gives each full role.

    Args:
        roles: `[seed, head]`.
        overall: role over all seeds, `[head]`.
    """
    support = np.zeros(overall.shape, dtype=np.int64)
    for role in np.unique(overall[overall != UNDECIDED]):
        support = np.where(overall == role, seeds_for(roles, role), support)
    low, high = jeffreys_interval(support, len(roles))
    decided = overall != UNDECIDED
    columns: dict[str, NDArray[Any]] = {
        "seeds_in_role": support,
        "role_low": np.where(decided, low, np.nan),
        "role_high": np.where(decided, high, np.nan),
    }
    shares = {full: (roles == full).mean(axis=0) for full, *_ in FAMILIES.values()}
    columns |= {f"share_{role}": share for role, share in shares.items()}
    for role in ("facilitating", "interfering"):
        columns[f"any_{role}"] = shares[role] > 0
        columns[f"always_{role}"] = shares[role] == 1
    return columns


def _ablation(effects: Effects) -> dict[str, NDArray[np.float64]]:
    """Scores of ablation with their standard errors and `q`, each `[layer, head]`."""
    p = p_values(effects.ablation, effects.stderr, effects.sequences)
    columns = {
        "ablation_score": effects.ablation,
        "ablation_stderr": effects.stderr,
        "ablation_q": q_values(p),
        "estimate_score": effects.estimate,
    }
    if effects.at_retention is not None and effects.at_retention_stderr is not None:
        rows = effects.sequences_at_retention
        p = p_values(effects.at_retention, effects.at_retention_stderr, rows)
        columns |= {
            "retention_score": effects.at_retention,
            "retention_stderr": effects.at_retention_stderr,
            "retention_q": q_values(p),
        }
    return columns


def lambda_range(
    path: PathScores | None, overall: NDArray[Any], strength: float
) -> dict[str, NDArray[np.float64]]:
    """Lowest and highest strength up to which a head's role stays that at the study's own.

    Both `[layer, head]`; no strength between them gives the head another role. Empty without a
    path.
    """
    if path is None:
        return {}
    lambdas = list(path.lambdas)
    center = lambdas.index(strength)
    low, high = np.full((2, *overall.shape), strength)
    for bound, places in (
        (low, range(center - 1, -1, -1)),
        (high, range(center + 1, len(lambdas))),
    ):
        holding = np.ones(overall.shape, dtype=bool)
        for place in places:
            holding &= path.roles[place] == overall
            bound[holding] = lambdas[place]
    return {"lambda_low": low, "lambda_high": high}

"""A study's table of heads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from chg.config import StudyConfig
from chg.results.agreement import bootstrap_interval
from chg.results.roles import ROLES, role_over_seeds, role_shares
from chg.results.study_scores import Effects, PathScores, StudyScores

if TYPE_CHECKING:
    import pandas as pd


def heads_table(
    scores: StudyScores, effects: Effects, path: PathScores | None, config: StudyConfig
) -> pd.DataFrame:
    """Table with one row per head, the columns those of `heads.csv`."""
    import pandas as pd

    roles = scores.roles
    overall = role_over_seeds(roles, config.agreement)
    exists = overall != ""
    layers, heads = np.nonzero(exists)
    columns: dict[str, Any] = {"layer": layers, "head": heads, "role": overall[exists]}
    for name, values in scores.by_name.items():
        by_seed = values[:, exists]
        low, high = bootstrap_interval(by_seed)
        columns |= {
            f"{name}_mean": by_seed.mean(0),
            f"{name}_low": low,
            f"{name}_high": high,
            f"{name}_min": by_seed.min(0),
            f"{name}_max": by_seed.max(0),
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
    """Lowest and highest strength up to which a head's role stays that at the study's own.

    Both `[layer, head]`; no strength between them gives the head another role.
    """
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
    return low, high

"""Counts of how far ablation agrees with the roles: evidence of its own, beside each of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chg.results import FAMILIES, ROLES, SIGNIFICANT, StudyResults, nothing_below

if TYPE_CHECKING:
    import pandas as pd

NO_BREAK = "\u00a0"


def evidence(study: StudyResults) -> dict[str, list[str]]:
    """Say what ablation shows of the heads of every role; nothing where nothing was ablated.

    Returns:
        Role -> how many of its heads have the ablation score that it leads one to expect, and how
        many disagree.
    """
    if "ablation_score" not in study.heads:
        return {role: [] for role in ROLES}
    return {role: _phrases(study, role) for role in ROLES}


def _phrases(study: StudyResults, role: str) -> list[str]:
    heads = study.heads[study.heads["role"] == role]
    if heads.empty:
        return []
    count, words = _expected(study, role, heads)
    return [f"{count} of {len(heads)}: {words}", *_disagreeing(heads["disagrees"])]


def _expected(study: StudyResults, role: str, heads: pd.DataFrame) -> tuple[int, str]:
    """Count heads with the score of ablation that a role leads one to expect, and say which."""
    scores, sure = heads["ablation_score"], heads["ablation_q"] < SIGNIFICANT
    if role in FAMILIES["facilitation"]:
        return int(((scores < 0) & sure).sum()), f"closing it alone hurts, q < {SIGNIFICANT:g}"
    if role in FAMILIES["interference"]:
        return int(((scores > 0) & sure).sum()), f"closing it alone helps, q < {SIGNIFICANT:g}"
    if role in FAMILIES["irrelevance"]:
        edge = nothing_below(study.proofs.tolerance)
        count = int((scores.abs() <= edge).sum())
        return count, f"closing it alone changes at most {edge:.2g} nats"
    return int(sure.sum()), f"closing it alone matters, q < {SIGNIFICANT:g}"


def _disagreeing(where: pd.Series[str]) -> list[str]:
    """Count heads where ablation disagrees, at each place that it was measured."""
    places = {place: int(where.str.contains(place, regex=False).sum()) for place in ("G = 1", "G+")}
    told = [
        f"{count} at {place}".replace(" ", NO_BREAK) for place, count in places.items() if count
    ]
    return [f"ablation disagrees: {', '.join(told)}"] if told else []

"""Roles of heads, read from a retention and a removal fit together (paper, table 1;
docs/method.md#roles).

A gate that rests between the thresholds was stopped by the task: the head has its role in part.
Over several seeds a head has the role that enough of the seeds give it, and is undecided where
they do not agree (paper, table 2).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from chg.config import CLOSED_BELOW, OPEN_ABOVE
from chg.errors import GateError

ROLES = {
    "facilitating": "open even under removal pressure: the task holds it open",
    "facilitating in part": "half open under removal pressure: a part of it is enough",
    "irrelevant": "follows the pressure: the task does not hold it either way",
    "interfering": "closed even under retention pressure: the task holds it closed",
    "interfering in part": "half closed under retention pressure: a part of it is in the way",
    "undecided": "the seeds disagree, or its gates still moved",
}
"""Every role with its meaning. "In part": the task stopped the gate between the thresholds."""

SCORES = ("facilitation", "irrelevance", "interference")
"""The score of each family of roles."""
FAMILIES: dict[str, tuple[str, ...]] = {
    "facilitation": ("facilitating", "facilitating in part"),
    "irrelevance": ("irrelevant",),
    "interference": ("interfering", "interfering in part"),
}
"""score -> the roles that it measures, the full one first"""
ROLE_OF = {score: roles[0] for score, roles in FAMILIES.items()}
"""score -> its full role"""
UNDECIDED = "undecided"
MOVED = 0.1
"""Change of a gate over the last fifth of a fit's updates at which it is no longer at rest."""


@dataclass(frozen=True)
class Taxonomy:
    """Scores and role of every head, each `[layer, head]`, or `[seed, layer, head]`."""

    facilitation: NDArray[np.float64]
    """`G-`: high where a head stays open although pushed closed."""
    interference: NDArray[np.float64]
    """`1 - G+`: high where a head stays closed although pushed open."""
    irrelevance: NDArray[np.float64]
    """`G+ * (1 - G-)`: high where a head goes where it is pushed."""
    roles: NDArray[Any]
    """Names in `ROLES`; empty where there is no head."""

    def __repr__(self) -> str:
        counts = {role: int((self.roles == role).sum()) for role in ROLES}
        roles = ", ".join(f"{count} {role}" for role, count in counts.items())
        return f"<Taxonomy of {' x '.join(map(str, self.roles.shape))}: {roles}>"


def classify_heads(
    retention: Float[Tensor, "*seed layer head"],
    removal: Float[Tensor, "*seed layer head"],
    *,
    open_above: float = OPEN_ABOVE,
    closed_below: float = CLOSED_BELOW,
) -> Taxonomy:
    """Classify heads by their gates in a retention (G+) and a removal (G-) fit.

    A gate is high above `open_above` and low below `closed_below`. One that rests between them
    under one pressure, and follows the other, has a role in part. A head with no such pattern, as
    one that only retention closes, is undecided.

    Args:
        retention: gates of G+.
        removal: gates of G-.
        open_above: gates above this are high.
        closed_below: gates below this are low.

    Raises:
        GateError: the two matrices differ in shape.
    """
    if retention.shape != removal.shape:
        raise GateError(
            f"the retention gates are {tuple(retention.shape)}, the removal gates "
            f"{tuple(removal.shape)}; they belong to different models"
        )
    plus = retention.double().cpu().numpy()
    minus = removal.double().cpu().numpy()
    opened, closed = plus > open_above, minus < closed_below
    roles = np.select(
        [
            opened & (minus > open_above),
            opened & ~closed,
            opened & closed,
            (plus < closed_below) & closed,
            ~opened & closed,
        ],
        list(ROLES)[:5],
        default=UNDECIDED,
    )
    roles[np.isnan(plus) | np.isnan(minus)] = ""
    return Taxonomy(minus, 1 - plus, plus * (1 - minus), roles)


def roles_at_rest(
    roles: NDArray[Any], before: NDArray[Any], moved: NDArray[np.bool_]
) -> NDArray[Any]:
    """Keep the roles of heads that have come to rest; the others are undecided.

    A role must have been there, in full or in part, a fifth of the updates before the end. One in
    part needs that its gates no longer moved, too.

    Args:
        roles: roles at the end, `[seed, layer, head]`.
        before: roles a fifth of the updates before.
        moved: true for heads with a gate that moved since (`gates_moved`).
    """
    resting = np.zeros(roles.shape, dtype=bool)
    for score, (_, *parts) in FAMILIES.items():
        same = in_family(roles, score) & in_family(before, score)
        resting |= same & ~(np.isin(roles, parts) & moved)
    return np.where(resting | (roles == ""), roles, UNDECIDED)


def gates_moved(
    before: Float[Tensor, "*seed layer head"], after: Float[Tensor, "*seed layer head"]
) -> NDArray[np.bool_]:
    """Tell which gates moved by `MOVED` or more, from their logits before and after."""
    return ((torch.sigmoid(after) - torch.sigmoid(before)).abs() >= MOVED).cpu().numpy()


def in_family(roles: NDArray[Any], score: str) -> NDArray[np.bool_]:
    """Tell where a role is one that a score measures, in full or in part."""
    return np.isin(roles, FAMILIES[score])


def role_over_seeds(
    roles: NDArray[Any], agreement: float, *, shows_task: bool = True
) -> NDArray[Any]:
    """Role that at least `agreement` of the seeds give each head, else undecided.

    Seeds that give a role in full and seeds that give it in part agree on it in part.

    Args:
        roles: `[seed, layer, head]`; empty strings where there is no head.
        agreement: a share of the seeds, above 0 (`StudyConfig.agreement`).
        shows_task: false where the model shows no sign of the task (`Competence.shows_task`): then
            no head is called facilitating or interfering, whatever its gates do.

    Returns:
        `[layer, head]`.
    """
    names = list(ROLES)[:5]
    # In the order of ROLES, a role in full comes before its role in part.
    agreed = [seeds_for(roles, role) >= agreement * len(roles) - 1e-9 for role in names]
    overall = np.select(agreed, names, default=UNDECIDED)
    if not shows_task:
        overall[in_family(overall, "facilitation") | in_family(overall, "interference")] = UNDECIDED
    overall[(roles == "").all(axis=0)] = ""
    return overall


def seeds_for(roles: NDArray[Any], role: str) -> NDArray[np.int64]:
    """Count the seeds that support a role: those that give it, and for one in part its full one.

    Args:
        roles: `[seed, ...]`.
        role: a name in `ROLES`.

    Returns:
        The counts, in the shape of `roles` without its first axis.
    """
    names = next((family for family in FAMILIES.values() if role in family[1:]), (role,))
    return np.asarray(np.isin(roles, names).sum(axis=0))

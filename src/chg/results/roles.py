"""Roles of heads, read from a retention and a removal fit together (paper, table 1;
docs/method.md#roles).

Over several seeds a head has the role that enough of the seeds give it, and is undecided where
they do not agree (paper, table 2).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from chg.config import CLOSED_BELOW, OPEN_ABOVE
from chg.errors import GateError

ROLES = {
    "facilitating": "open even under removal pressure; ablating it hurts",
    "irrelevant": "follows the pressure; ablating it changes nothing",
    "interfering": "closed even under retention pressure; ablating it helps",
    "undecided": "a gate between the thresholds, or closed only under retention",
}
"""Every role with its meaning."""

SCORES = ("facilitation", "irrelevance", "interference")
"""The score of each role but `undecided`."""
ROLE_OF = dict(zip(SCORES, ROLES, strict=False))
"""score -> role"""


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

    A gate counts as high above `open_above` and as low below `closed_below`; a head with a gate
    between them is undecided, and so is one that only retention closes, which no role explains.

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
    conditions = [
        (plus > open_above) & (minus > open_above),
        (plus > open_above) & (minus < closed_below),
        (plus < closed_below) & (minus < closed_below),
    ]
    roles = np.select(conditions, list(ROLES)[:3], default="undecided")
    roles[np.isnan(plus) | np.isnan(minus)] = ""
    return Taxonomy(minus, 1 - plus, plus * (1 - minus), roles)


def role_shares(roles: NDArray[Any]) -> dict[str, NDArray[np.float64]]:
    """Share of the seeds that give each role.

    Args:
        roles: `[seed, layer, head]`, or `[seed, head]`.

    Returns:
        Role -> the shares, in the shape of `roles` without its first axis.
    """
    return {role: (roles == role).mean(axis=0) for role in ROLES}


def role_over_seeds(roles: NDArray[Any], agreement: float) -> NDArray[Any]:
    """Role that at least `agreement` of the seeds give each head, else undecided.

    Args:
        roles: `[seed, layer, head]`; empty strings where there is no head.
        agreement: a share of the seeds, above 0 (`StudyConfig.agreement`).

    Returns:
        `[layer, head]`.
    """
    shares = role_shares(roles)
    names = list(ROLES)[:3]
    agreed = [shares[role] >= agreement for role in names]
    overall = np.select(agreed, names, default="undecided")
    overall[(roles == "").all(axis=0)] = ""
    return overall

"""What two fits say about a head (paper, table 1; METHOD.md, What the two fits mean).

Over several seeds a head has the role that enough of them agree on (paper, table 2), and is
undecided where they do not.
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
"""The scores, each that of one role."""
ROLE_OF = dict(zip(SCORES, ROLES, strict=False))
"""score -> role"""

AGREEMENT = 0.8
"""Share of the seeds that must give a head the same role for it to have that role."""


@dataclass(frozen=True)
class Taxonomy:
    """Scores and role of every head, each `[layer, head]`, or `[seed, layer, head]`."""

    facilitation: NDArray[np.float64]
    """`G-`: still open although pushed down."""
    interference: NDArray[np.float64]
    """`1 - G+`: closed although pushed up."""
    irrelevance: NDArray[np.float64]
    """`G+ * (1 - G-)`: goes where it is pushed."""
    roles: NDArray[Any]
    """Strings, each one of `ROLES`; empty where there is no head."""


def classify_heads(
    retention: Float[Tensor, "*seed layer head"],
    removal: Float[Tensor, "*seed layer head"],
    *,
    open_above: float = OPEN_ABOVE,
    closed_below: float = CLOSED_BELOW,
) -> Taxonomy:
    """Read the gates of a retention (G+) and a removal (G-) fit together, or of several seeds.

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
    """Role -> `[layer, head]`: share of the seeds (first axis of `roles`) that give it."""
    return {role: (roles == role).mean(axis=0) for role in ROLES}


def role_over_seeds(roles: NDArray[Any], agreement: float = AGREEMENT) -> NDArray[Any]:
    """`[layer, head]`: the role that at least `agreement` of the seeds give, else undecided."""
    shares = role_shares(roles)
    names = list(ROLES)[:3]
    agreed = [shares[role] >= agreement for role in names]
    together = np.select(agreed, names, default="undecided")
    together[(roles == "").all(axis=0)] = ""
    return together

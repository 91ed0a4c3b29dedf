"""What two fits say about a head (paper, table 1; METHOD.md, What the two fits mean)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from chg.errors import GateError
from chg.gates import CLOSED_BELOW, OPEN_ABOVE

ROLES = {
    "facilitating": "open even under removal pressure; ablating it hurts",
    "irrelevant": "follows the pressure; ablating it changes nothing",
    "interfering": "closed even under retention pressure; ablating it helps",
    "undecided": "a gate between the thresholds, or closed only under retention",
}
"""Every role with its meaning."""


@dataclass(frozen=True)
class Taxonomy:
    """Scores and role of every head, each `[layer, head]`."""

    facilitation: NDArray[np.float64]
    """`G-`: still open although pushed down."""
    interference: NDArray[np.float64]
    """`1 - G+`: closed although pushed up."""
    irrelevance: NDArray[np.float64]
    """`G+ * (1 - G-)`: goes where it is pushed."""
    roles: NDArray[Any]
    """Strings, each one of `ROLES`; empty where there is no head."""


def classify_heads(
    retention: Float[Tensor, "layer head"], removal: Float[Tensor, "layer head"]
) -> Taxonomy:
    """Read the gates of a retention (G+) and a removal (G-) fit together.

    A gate counts as high above 0.7 and as low below 0.3; a head with a gate between them is
    undecided, and so is one that only retention closes, which no role explains.

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
        (plus > OPEN_ABOVE) & (minus > OPEN_ABOVE),
        (plus > OPEN_ABOVE) & (minus < CLOSED_BELOW),
        (plus < CLOSED_BELOW) & (minus < CLOSED_BELOW),
    ]
    roles = np.select(conditions, list(ROLES)[:3], default="undecided")
    roles[np.isnan(plus) | np.isnan(minus)] = ""
    return Taxonomy(minus, 1 - plus, plus * (1 - minus), roles)

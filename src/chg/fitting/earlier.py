"""Logits that fits had before their end, by which a reading that still moves is known."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from chg.fitting.stopping import SETTLING_UPDATES

NOTED_EVERY = SETTLING_UPDATES * 4 // 5
"""Fits that settle do so after a multiple of `SETTLING_UPDATES`, so four fifths of the way are a
multiple of this."""
KEPT = "kept_"


class EarlierLogits:
    """Logits of each fit after four fifths of its updates; NaN until its end, whenever that is."""

    def __init__(self, start: Float[Tensor, "fit layer head"]) -> None:
        self.logits = torch.full_like(start, torch.nan)
        self._kept = {0: start.clone()}
        """Updates done -> logits then, as far back as an end may still ask for."""

    def note(
        self,
        step: int,
        total: int,
        logits: Float[Tensor, "fit layer head"],
        ended: Bool[Tensor, "fit"],
    ) -> None:
        """See the logits after an update, the last one of the fits that ended."""
        if step % NOTED_EVERY == 0 or step == _four_fifths(total):
            self._kept[step] = logits.clone()
        back = _four_fifths(step)
        self._kept = {at: kept for at, kept in self._kept.items() if at >= back}
        if step == total or step % SETTLING_UPDATES == 0:
            self.logits = torch.where(ended[:, None, None], self._kept[back], self.logits)

    def state(self) -> dict[str, Tensor]:
        """Return what is kept, as tensors."""
        return {"earlier": self.logits} | {f"{KEPT}{at}": kept for at, kept in self._kept.items()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a `state()`."""
        self.logits = state["earlier"].to(self.logits, copy=True)
        self._kept = {
            int(name.removeprefix(KEPT)): kept.to(self.logits, copy=True)
            for name, kept in state.items()
            if name.startswith(KEPT)
        }


def _four_fifths(updates: int) -> int:
    return updates * 4 // 5

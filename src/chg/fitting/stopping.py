"""Reasons for a fit to stop: its gates rest, or its loss is no number."""

from __future__ import annotations

import torch
from torch import Tensor

from chg.errors import DivergedError

SETTLING_UPDATES = 50
SETTLED = 0.02
"""A fit has settled when none of its gates moved by this much in so many updates."""


class SettledFits:
    """Which fits' gates no longer move: none of them by much over a number of updates."""

    def __init__(self, logits: Tensor) -> None:
        self.anchor = logits.detach().clone()
        """Logits when it was last looked."""
        self.settled = torch.zeros(len(logits), dtype=torch.bool, device=logits.device)

    def look(self, logits: Tensor) -> None:
        moved = (torch.sigmoid(logits) - torch.sigmoid(self.anchor)).abs().flatten(1).amax(1)
        self.settled |= moved < SETTLED
        self.anchor.copy_(logits)


class DivergenceGuard:
    """Undoes the update in which something became NaN, and every later one, until it is noticed.

    Looking waits for the device, so on an accelerator it is done every few updates.
    """

    def __init__(self, logits: Tensor, updates: int) -> None:
        self._logits = logits
        self._sound = torch.ones((), dtype=torch.bool, device=logits.device)
        self._updates = torch.full((), updates, dtype=torch.long, device=logits.device)
        self._until_looked = self._every = updates_between_looks(logits.device)

    @torch.no_grad()
    def check(self, before: Tensor, losses: Tensor, norms: Tensor, *, last: bool) -> None:
        """Keep the update, or put back the logits before it.

        Raises:
            DivergedError: an update was not sound.
        """
        self._sound &= torch.isfinite(norms).all() & torch.isfinite(losses).all()
        self._updates += self._sound
        self._logits.copy_(torch.where(self._sound, self._logits, before))
        self._until_looked -= 1
        if self._until_looked and not last:
            return
        self._until_looked = self._every
        if not bool(self._sound):
            raise DivergedError(
                "the loss or its gradient became NaN or infinite at update "
                f"{int(self._updates) + 1} (loss {', '.join(f'{x:.4g}' for x in losses.tolist())});"
                " try --dtype float32, a lower --lr, or check the model and data",
                last_good=self._logits.detach().cpu(),
            )


def updates_between_looks(device: torch.device) -> int:
    """How many updates run before their figures are read, which waits for an accelerator."""
    return 1 if device.type == "cpu" else 16

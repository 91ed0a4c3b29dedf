"""Reasons for a fit to stop: its gates rest, or its loss is no number."""

from __future__ import annotations

import torch
from torch import Tensor

from chg.errors import DivergedError
from chg.gating import HeadGates

SETTLING_UPDATES = 50
SETTLED = 0.02
"""A fit has settled when none of its gates moved by this much in so many updates."""


class SettledFits:
    """Fits whose gates no longer move: none of them by much over a number of updates."""

    def __init__(self, logits: Tensor) -> None:
        self.anchor = logits.detach().clone()
        """Logits at the last look."""
        self.settled = torch.zeros(len(logits), dtype=torch.bool, device=logits.device)

    def look(self, logits: Tensor) -> None:
        """Compare the gates with those of the last look."""
        moved = (torch.sigmoid(logits) - torch.sigmoid(self.anchor)).abs().flatten(1).amax(1)
        self.settled |= moved < SETTLED
        self.anchor.copy_(logits)


class DivergenceGuard:
    """Guard that undoes the update in which a loss became NaN, and later ones, until it looks.

    Looking waits for the device, so on an accelerator it is done every few updates.
    """

    def __init__(self, logits: Tensor, exists: Tensor, updates: int) -> None:
        """Watch over logits in place.

        Args:
            logits: `[fit, layer, head]`.
            exists: `[layer, head]`, the entries that are heads.
            updates: updates done before.
        """
        self._logits = logits
        self._exists = exists
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
                last_good=self._last_good(),
            )

    def _last_good(self) -> tuple[HeadGates, ...]:
        logits = self._logits.detach().masked_fill(~self._exists, torch.nan).cpu()
        return tuple(HeadGates(matrix) for matrix in logits)


def updates_between_looks(device: torch.device) -> int:
    """Count the updates that run before their losses are read, which waits for an accelerator."""
    return 1 if device.type == "cpu" else 16

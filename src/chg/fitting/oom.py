"""Out of memory: fits, then rows of a pass, are halved until they fit."""

from __future__ import annotations

import logging

import torch
from torch import Tensor

from chg.errors import MemoryRunsOutError
from chg.fitting.losses import Loss
from chg.fitting.updates import MicroBatch

logger = logging.getLogger(__name__)


class MemoryBoundPasses:
    """Forward and backward passes of as many fits and rows as memory holds."""

    def __init__(self, tokens: int, fits: int | None = None) -> None:
        """Set the largest pass.

        Args:
            tokens: tokens per pass, about, where `fits` is not given.
            fits: gate matrices per pass at most.
        """
        self._tokens = tokens
        self._fits = fits
        self._rows: int | None = None

    def run(
        self, loss: Loss, gates: Tensor, fits: Tensor, micro_batch: MicroBatch, losses: Tensor
    ) -> None:
        """Accumulate the gradients of gates over a micro-batch, in parts where memory runs out.

        Raises:
            MemoryRunsOutError: it does so for a single row under a single gate matrix.
        """
        rows = micro_batch.sides[0]
        if self._rows is None or len(rows) <= self._rows:
            together = self._fits or max(1, self._tokens // micro_batch.tokens)
            left = fits
            while len(left):
                if self._run(loss, gates, left[:together], micro_batch, losses):
                    left = left[together:]
                    continue
                if torch.cuda.is_available():
                    torch.cuda.empty_cache()
                if min(together, len(left)) == 1:
                    break
                together = self._fits = min(together, len(left)) // 2
                logger.warning("memory ran out; going on with %d fits per pass", together)
            else:
                return
            fits = left
        halves = micro_batch.halves()
        if halves is None:
            raise MemoryRunsOutError(
                "memory runs out on a single row; try --recompute layer, a shorter --max_length, "
                "or a lower --dtype"
            )
        if self._rows is None or len(rows) <= self._rows:
            self._rows = len(halves[1].sides[0])
            logger.warning("memory ran out; going on with %d rows per pass", self._rows)
        for half in halves:
            self.run(loss, gates, fits, half, losses)

    def _run(
        self, loss: Loss, gates: Tensor, fits: Tensor, micro_batch: MicroBatch, losses: Tensor
    ) -> bool:
        """Run one pass; False where memory ran out, with all that the pass held gone on return."""
        try:
            share = loss(gates[fits], fits, micro_batch).to(gates.device)
            share.sum().backward()
        except RuntimeError as error:
            if not _out_of_memory(error):
                raise
            return False
        losses[fits] += share.detach()
        return True


def _out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)

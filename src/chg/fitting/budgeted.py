"""Budgeted fit: one score per head, good for every number of heads kept at once.

1. Every row of an update has a budget `k` of its own; the heads' gates there are
   `sigmoid((score - t) / T)`, with `t` such that they sum to `k` (`soft_top_k`).
2. Budgets are spread over all sizes, small ones more often: there rankings differ, and from about
   half of the heads on most sets do.
3. `T` falls, so that gates end nearly hard, as the heads that are kept will be.

The idea is that of Matryoshka attribution (docs/evidence.md#faithfulness); a gate matrix per row
makes it one pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from chg.engine import Engine
from chg.fitting.losses import Loss
from chg.fitting.updates import MicroBatch
from chg.gating import LOGIT_BOUND

TEMPERATURES = (1.0, 0.3)
"""`T` of the first update and of the last, in units of a score."""
BUDGETS = (0.02, 0.98)
"""Smallest and largest share of the heads that a row keeps."""
SMALL_FIRST = 2.0
"""Power of an even draw that makes a budget: half of them are below a quarter of the heads."""
BISECTIONS = 40
"""Halvings of the range in which `t` lies; enough for float32."""
FARTHEST = 20.0
"""Temperatures by which `t` is beyond the scores, where all gates are 0 or 1."""


@dataclass(frozen=True)
class BudgetedBatch(MicroBatch):
    """Rows of one pass, each with the share of the heads that it keeps."""

    budgets: tuple[float, ...] = ()
    temperature: float = TEMPERATURES[0]

    def halves(self) -> tuple[MicroBatch, MicroBatch] | None:
        """Split into two passes, rows and budgets; None where there is a single row left."""
        halves = super().halves()
        if halves is None:
            return None
        middle = len(halves[0].sides[0])
        first, second = self.budgets[:middle], self.budgets[middle:]
        return self._of(halves[0], first), self._of(halves[1], second)

    def _of(self, part: MicroBatch, budgets: tuple[float, ...]) -> BudgetedBatch:
        return replace(self, sides=part.sides, share=part.share, budgets=budgets)


def budgeted_updates(
    updates: Iterable[list[MicroBatch]], total: int, seed: int
) -> Iterator[list[MicroBatch]]:
    """Give every row of every update its budget, and every update its temperature.

    Args:
        updates: the updates, from the first on.
        total: their number.
        seed: seed that budgets are drawn from.
    """
    generator = torch.Generator().manual_seed(seed)
    first, last = TEMPERATURES
    for step, passes in enumerate(updates):
        temperature = first * (last / first) ** (step / max(1, total - 1))
        budgets = _spread(sum(len(part.sides[0]) for part in passes), generator)
        update: list[MicroBatch] = []
        for part in passes:
            rows = len(part.sides[0])
            update.append(BudgetedBatch(part.sides, part.share, tuple(budgets[:rows]), temperature))
            budgets = budgets[rows:]
        yield update


def _spread(rows: int, generator: torch.Generator) -> list[float]:
    """Draw budgets of so many rows, one from every part of the range, in any order."""
    smallest, largest = BUDGETS
    places = torch.randperm(rows, generator=generator) + torch.rand(rows, generator=generator)
    shares = smallest + (largest - smallest) * (places / rows) ** SMALL_FIRST
    return [float(share) for share in shares]


def budgeted_loss(engine: Engine, pad_id: int, exists: Bool[Tensor, "layer unit"]) -> Loss:
    """Make the loss of a budgeted fit: minus the engine's metric under each row's own gates.

    Args:
        engine: the model.
        pad_id: padding of the rows.
        exists: entries of the gate matrix that are heads.
    """

    def loss(gates: Tensor, _which: Tensor, micro_batch: MicroBatch) -> Tensor:
        assert isinstance(micro_batch, BudgetedBatch)
        here = exists.to(gates.device)
        budgets = torch.tensor(micro_batch.budgets, device=gates.device) * int(here.sum())
        kept = soft_top_k(torch.logit(gates[:, here]), budgets, micro_batch.temperature)
        by_row = gates.new_zeros(*kept.shape[:2], *here.shape)
        by_row[:, :, here] = kept
        batch = engine.batch(micro_batch.sides[0], pad_id, apart=True)
        return -engine.measure_by_row(by_row, batch).mean(1) * micro_batch.share

    return loss


def soft_top_k(
    scores: Float[Tensor, "fit unit"], budgets: Float[Tensor, "row"], temperature: float
) -> Float[Tensor, "fit row unit"]:
    """Make gates that sum to each budget, the higher the score the nearer to 1.

    Gradients reach the scores: with `s` the slope of a gate, raising one score raises its gate by
    `s (1 - s / sum(s))`, and lowers every other by `s s' / sum(s)`, so that the sum stays.
    """
    gates: Tensor = _SoftTopK.apply(scores, budgets, temperature)  # type: ignore[no-untyped-call]
    return gates


class _SoftTopK(torch.autograd.Function):
    """`soft_top_k`, with the derivative of the threshold in closed form."""

    @staticmethod
    def forward(ctx, scores, budgets, temperature):  # type: ignore[no-untyped-def]
        reach = FARTHEST * temperature
        size = (len(scores), len(budgets), 1)
        low = (scores.amin(1) - reach).view(-1, 1, 1).expand(size)
        high = (scores.amax(1) + reach).view(-1, 1, 1).expand(size)
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            gates = torch.sigmoid((scores[:, None] - middle) / temperature)
            over = gates.sum(-1, keepdim=True) > budgets[:, None]
            low, high = torch.where(over, middle, low), torch.where(over, high, middle)
        ctx.save_for_backward(gates * (1 - gates) / temperature)
        return gates

    @staticmethod
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]
        (slopes,) = ctx.saved_tensors
        total = slopes.sum(-1, keepdim=True).clamp(min=torch.finfo(slopes.dtype).tiny)
        mean = (gradient * slopes).sum(-1, keepdim=True) / total
        return (slopes * (gradient - mean)).sum(1), None, None


def spread_ranks(scores: Float[Tensor, "layer unit"]) -> Float[Tensor, "layer unit"]:
    """Spread heads evenly over the range of logits in the order of their scores; NaN stays."""
    exists = ~scores.isnan()
    ranks = scores[exists].argsort().argsort().float()
    spread = scores.new_full(scores.shape, torch.nan)
    spread[exists] = (ranks / max(1, len(ranks) - 1) * 2 - 1) * LOGIT_BOUND / 2
    return spread

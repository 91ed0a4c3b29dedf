"""Optimising gate logits, for any loss (METHOD.md, Fitting; paper, eq. 1 and appendix 6.2).

1. The model is frozen and in eval mode; only the logits `[fit, layer, head]` are trained.
2. One update: the loss of each micro-batch under `sigmoid(logits)` is accumulated, then
   `lambda_reg * R(logits)` is added.
3. The gradient is clipped to norm 1 per gate matrix, so that fits side by side do not meet.
4. Adam moves a logit by about `8 * lr` at most; the rate falls linearly to a tenth.
5. Logits are put back into [-4, 4]: the published clip has no gradient outside that range, in
   either direction, and traps a gate that left it (`paper_clip` reproduces that).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from chg.architectures import input_device
from chg.config import OptimiserConfig
from chg.data.batches import MicroBatch
from chg.errors import DivergedError, MemoryRunsOutError
from chg.gate_wrapper import attach, existing_heads, frozen
from chg.gates import LOGIT_BOUND
from chg.objectives import gate_regulariser

logger = logging.getLogger(__name__)

START_RANGE = (0.02, 0.98)
FINAL_RATE = 0.1
GRADIENT_NORM = 1.0

Loss = Callable[[Tensor, MicroBatch], Tensor]
"""`loss(gates [fit, layer, head], micro_batch) -> [fit]`, this micro-batch's share."""


@dataclass(frozen=True)
class Update:
    """What one update did; handed to `on_update`."""

    step: int
    """Counted from 1."""
    losses: Float[Tensor, "fit"]
    """Loss on the update's rows before it, without the regulariser."""
    logits: Float[Tensor, "fit layer head"]
    """Logits after it."""
    lr: float


def starting_logits(
    config: OptimiserConfig, shape: tuple[int, int], fits: int = 1
) -> Float[Tensor, "fit layer head"]:
    """Draw the starting gates of `fits` fits (METHOD.md, Start)."""
    size = (fits, *shape)
    if config.gate_init == "random":
        generator = torch.Generator().manual_seed(config.seed)
        low, high = START_RANGE
        gates = torch.rand(size, generator=generator) * (high - low) + low
    else:
        value = START_RANGE[1] if config.gate_init == "open" else float(config.gate_init)
        gates = torch.full(size, value)
    return torch.logit(gates)


def optimise_gates(
    model: nn.Module,
    start: Float[Tensor, "fit layer head"],
    updates: Iterable[Sequence[MicroBatch]],
    total_updates: int,
    loss: Loss,
    config: OptimiserConfig,
    on_update: Callable[[Update], None],
) -> Float[Tensor, "fit layer head"]:
    """Run all updates and return the final logits, NaN where the model has no head.

    Raises:
        DivergedError: the loss or its gradient became NaN or infinite; nothing of that update is
            kept, and `last_good` holds the logits before it.
    """
    exists = existing_heads(model, config.unit).to(input_device(model))
    logits = start.nan_to_num().to(input_device(model))
    if not config.paper_clip:
        logits.clamp_(-LOGIT_BOUND, LOGIT_BOUND)
    logits.requires_grad_()

    def logits_of_heads() -> Tensor:
        return logits.detach().masked_fill(~exists, torch.nan)

    full_rate = 2 * LOGIT_BOUND * config.lr
    adam = torch.optim.Adam([logits], lr=full_rate)
    attach(model, torch.ones(start.shape[1:])).remove()  # the check, once, before the work
    layers, heads = exists.nonzero(as_tuple=True)
    passes, guard = _Passes(), _Guard(logits)
    with frozen(model):
        for step, micro_batches in enumerate(updates, start=1):
            done = (step - 1) / max(1, total_updates - 1)
            rate = full_rate * (1 - (1 - FINAL_RATE) * done)
            adam.param_groups[0]["lr"] = rate
            adam.zero_grad()
            losses = torch.zeros(logits.shape[0], device=logits.device)
            for micro_batch in micro_batches:
                passes.run(loss, logits, micro_batch, losses)
            per_head = config.lambda_scale == "per_head"
            pressure = gate_regulariser(logits[:, layers, heads], per_head=per_head)
            (config.lambda_reg * pressure).sum().backward()
            norms = _clip(logits)
            before = logits.detach().clone()
            adam.step()
            if not config.paper_clip:
                with torch.no_grad():
                    logits.clamp_(-LOGIT_BOUND, LOGIT_BOUND)
            guard.check(before, losses, norms, last=step == total_updates)
            on_update(Update(step, losses, logits_of_heads(), rate / (2 * LOGIT_BOUND)))
    return logits_of_heads().cpu()


class _Passes:
    """Forward and backward passes of as many rows as memory holds."""

    def __init__(self) -> None:
        self._rows: int | None = None

    def run(self, loss: Loss, logits: Tensor, micro_batch: MicroBatch, losses: Tensor) -> None:
        """Accumulate the gradient of a micro-batch, in halves where memory runs out.

        Raises:
            MemoryRunsOutError: it does so for a single row.
        """
        rows = len(micro_batch.sides[0])
        if self._rows is None or rows <= self._rows:
            try:
                share = loss(torch.sigmoid(logits), micro_batch).to(logits.device)
                share.sum().backward()
                losses += share.detach()
                return
            except RuntimeError as error:
                if not _out_of_memory(error):
                    raise
        # Outside of the handler, which would keep what the failed pass holds alive.
        halves = micro_batch.halves()
        if halves is None:
            raise MemoryRunsOutError(
                "memory runs out on a single row; try --recompute layer, a shorter --max_length, "
                "or a lower --dtype"
            )
        if self._rows is None or rows <= self._rows:
            self._rows = len(halves[1].sides[0])
            logger.warning("memory ran out; going on with %d rows per pass", self._rows)
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
        for half in halves:
            self.run(loss, logits, half, losses)


def _out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def _clip(logits: Tensor) -> Float[Tensor, "fit"]:
    """Clip the gradient of each gate matrix to norm 1; the norms before."""
    gradient = logits.grad
    assert gradient is not None
    norms: Tensor = gradient.flatten(1).norm(dim=1)
    gradient *= (GRADIENT_NORM / norms.clamp(min=GRADIENT_NORM))[:, None, None]
    return norms


class _Guard:
    """Undoes the update in which something became NaN, and every later one, until it is noticed.

    Looking waits for the device, so on an accelerator it is done every few updates.
    """

    def __init__(self, logits: Tensor) -> None:
        self._logits = logits
        self._sound = torch.ones((), dtype=torch.bool, device=logits.device)
        self._updates = torch.zeros((), dtype=torch.long, device=logits.device)
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

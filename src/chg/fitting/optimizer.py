"""Optimization of gate logits, for any loss (docs/method.md#fitting; paper, eq. 1, appendix 6.2).

1. The model is frozen and in eval mode; only the logits `[fit, layer, head]` are trained.
2. One update: the loss of each micro-batch under `sigmoid(logits)` is accumulated, then
   `lambda_reg * R(logits)` is added.
3. The gradient is clipped to norm 1 per gate matrix, so that fits side by side do not meet.
4. Adam moves a logit by about `8 * lr` at most; the rate falls linearly (`Schedule`).
   On a CPU it works on every fit by itself: vectorized kernels round by an element's place among
   all, and a fit's numbers must not depend on how many others there are.
5. Logits are put back into [-4, 4]: the published clip has no gradient outside that range, in
   either direction, and traps a gate that left it (`paper_clip` reproduces that).
6. A fit whose gates no longer move may stop before the others (`settle`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from chg.config import OptimizerConfig
from chg.engine import Engine
from chg.fitting.earlier import EarlierLogits
from chg.fitting.losses import Loss, gate_regularizer
from chg.fitting.oom import MemoryBoundPasses
from chg.fitting.stopping import SETTLING_UPDATES, DivergenceGuard, SettledFits
from chg.fitting.updates import MicroBatch
from chg.gating import LOGIT_BOUND, attach

START_RANGES = {"random": (0.02, 0.98), "uniform": (0.0, 1.0)}
"""Way of drawing starting gates -> the smallest and the largest; those of the paper are uniform."""
OPEN_START = 0.98
FINAL_RATE = 0.1
GRADIENT_NORM = 1.0
MOMENTS = ("exp_avg", "exp_avg_sq")
"""Names of Adam's moments."""


@dataclass(frozen=True)
class Update:
    """Result of one update; handed to `on_update`."""

    step: int
    """Counted from 1."""
    losses: Float[Tensor, "fit"]
    """Loss on the update's rows before it, without the regularizer; NaN for a settled fit."""
    logits: Float[Tensor, "fit layer head"]
    """Logits after it."""
    lr: float
    """Fraction of the full gate range it might move a gate."""


def starting_logits(
    config: OptimizerConfig, shape: tuple[int, int], fits: int = 1
) -> Float[Tensor, "fit layer head"]:
    """Draw the starting gates of `fits` fits (docs/method.md#fitting)."""
    size = (fits, *shape)
    if config.gate_init in START_RANGES:
        generator = torch.Generator().manual_seed(config.seed)
        low, high = START_RANGES[config.gate_init]
        gates = torch.rand(size, generator=generator) * (high - low) + low
    else:
        value = OPEN_START if config.gate_init == "open" else float(config.gate_init)
        gates = torch.full(size, value)
    return torch.logit(gates, eps=1e-6)  # a draw may be 0


@dataclass(frozen=True)
class Schedule:
    """Schedule of the step size: full at first, then falling linearly over the last updates."""

    lr: float
    """Fraction of the full gate range that the first update may move a gate."""
    final: float = FINAL_RATE
    """Share of it that is left for the last one."""
    fall: float = 1.0
    """Share of the updates over which it falls."""

    def before_fall(self, total: int) -> int:
        """Count the updates before the fall, which are the same for every larger total."""
        return total - round(self.fall * total)

    def at(self, step: int, total: int) -> float:
        """Compute the fraction at an update, counted from 1."""
        first = self.before_fall(total) + 1
        fallen = max(0, step - first) / max(1, total - first)
        return self.lr * (1 - (1 - self.final) * fallen)


@dataclass(frozen=True)
class OptimizerOptions:
    """Options of fits side by side, beside the settings that all of them share."""

    lambdas: Float[Tensor, "fit"] | None = None
    """Signed strength of each fit's regularizer, in place of `config.lambda_reg`."""
    schedule: Schedule | None = None
    """Step sizes, in place of `config.lr` falling to a tenth."""
    fits_per_pass: int | None = None
    """Gate matrices that share a forward pass at most; as many as fill one if not given."""
    groups: Int[Tensor, "fit"] | None = None
    """Number of each fit's group; only fits of one group share a pass. One group if not given."""
    settle: bool = False
    """Stop a fit when its gates no longer move."""


class GateOptimizer:
    """Fits side by side, each as it would be alone; can be put aside and gone on with.

    Args:
        engine: the model, open as long as updates run.
        start: logits to start from, as many matrices as fits.
        config: settings of all fits.
        options: strengths and step sizes of their own, and when to stop.
    """

    def __init__(
        self,
        engine: Engine,
        start: Float[Tensor, "fit layer head"],
        config: OptimizerConfig,
        options: OptimizerOptions = OptimizerOptions(),
    ) -> None:
        device = engine.device
        self._model = engine.model
        self._config = config
        self._exists = engine.exists(config.unit).to(device)
        self._logits = start.nan_to_num().to(device).clone()
        if not config.paper_clip:
            self._logits.clamp_(-LOGIT_BOUND, LOGIT_BOUND)
        apart = 1 if device.type == "cpu" else len(start)
        self._parts = [part.detach().requires_grad_() for part in self._logits.split(apart)]
        """Views of the logits, which Adam moves in place."""
        lambdas = options.lambdas
        if lambdas is None:
            lambdas = torch.full(start.shape[:1], config.lambda_reg)
        self._lambdas = lambdas.to(device)
        self._schedule = options.schedule or Schedule(config.lr)
        self._adam = torch.optim.Adam(self._parts, lr=2 * LOGIT_BOUND * self._schedule.lr)
        self._passes = MemoryBoundPasses(engine.token_budget, options.fits_per_pass)
        self._settling = SettledFits(self._logits) if options.settle else None
        self._earlier = EarlierLogits(self._logits)
        self._running = torch.ones(len(start), dtype=torch.bool, device=device)
        every = torch.arange(len(start), device=device)
        groups = every * 0 if options.groups is None else options.groups.to(device)
        self._groups = [every[groups == group] for group in groups.unique()]
        """Those that run. Kept, because counting them waits for an accelerator."""
        self.step = 0
        """Updates done."""

    def logits_of_heads(self) -> Float[Tensor, "fit layer head"]:
        """Return the logits as they are now, NaN where the model has no head."""
        return self._logits.masked_fill(~self._exists, torch.nan)

    def earlier_logits(self) -> Float[Tensor, "fit layer head"]:
        """Return the logits a fifth of each fit's updates before its end, NaN before that end."""
        return self._earlier.logits.masked_fill(~self._exists, torch.nan)

    def state(self) -> dict[str, Tensor]:
        """Return all that is needed to go on from here, as tensors: `step`, and `[fit, ...]`."""
        state = {"step": torch.tensor(self.step), "logits": self._logits}
        for name in MOMENTS:
            state[name] = torch.cat([self._adam.state[part][name] for part in self._parts])
        state |= self._earlier.state()
        if self._settling is not None:
            state |= {"anchor": self._settling.anchor, "settled": self._settling.settled}
        return {name: value.to("cpu", copy=True).contiguous() for name, value in state.items()}

    @torch.no_grad()
    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a `state()` of the same fits."""
        self.step = int(state["step"])
        self._logits.copy_(state["logits"])
        size = len(self._parts[0])
        moments = [state[name].to(self._logits, copy=True).split(size) for name in MOMENTS]
        for part, *of_part in zip(self._parts, *moments, strict=True):
            step = {"step": torch.tensor(float(self.step))}
            self._adam.state[part] = step | dict(zip(MOMENTS, of_part, strict=True))
        self._earlier.restore(state)
        if self._settling is not None:
            self._settling.anchor.copy_(state["anchor"])
            self._settling.settled.copy_(state["settled"])
            self._leave_settled()

    def run(
        self,
        updates: Iterable[Sequence[MicroBatch]],
        total_updates: int,
        loss: Loss,
        on_update: Callable[[Update], None],
    ) -> None:
        """Run the updates that are left, until all are done or every fit has settled.

        Raises:
            DivergedError: the loss or its gradient became NaN or infinite; that update is undone,
                and `last_good` holds the gates of every fit before it.
        """
        attach(self._model, torch.ones(self._logits.shape[1:])).remove()  # the check, once
        guard = DivergenceGuard(self._logits, self._exists, self.step)
        for micro_batches in updates:
            if not self._groups:
                return
            self.step += 1
            rate = self._schedule.at(self.step, total_updates)
            losses, norms, before = self._update(micro_batches, loss, rate)
            guard.check(before, losses, norms, last=self.step == total_updates)
            losses = losses.masked_fill(~self._running, torch.nan)
            ran = self._running
            if self._settling is not None and self.step % SETTLING_UPDATES == 0:
                self._settling.look(self._logits)
                self._leave_settled()
            ended = ran if self.step == total_updates else ran & ~self._running
            self._earlier.note(self.step, total_updates, self._logits, ended)
            on_update(Update(self.step, losses, self.logits_of_heads(), rate))

    def _update(
        self, micro_batches: Sequence[MicroBatch], loss: Loss, rate: float
    ) -> tuple[Float[Tensor, "fit"], Float[Tensor, "fit"], Float[Tensor, "fit layer head"]]:
        """Do one update; return the losses, the gradients' norms and the logits before it."""
        logits, config = self._logits, self._config
        self._adam.param_groups[0]["lr"] = 2 * LOGIT_BOUND * rate
        self._adam.zero_grad()
        losses = torch.zeros(len(logits), device=logits.device)
        graph = torch.cat([torch.sigmoid(part) for part in self._parts])
        gates = graph.detach().requires_grad_()
        for micro_batch in micro_batches:
            for fits in self._groups:
                self._passes.run(loss, gates, fits, micro_batch, losses)
        if gates.grad is not None:
            graph.backward(gates.grad)
        layers, heads = self._exists.nonzero(as_tuple=True)
        per_head = config.lambda_scale == "per_head"
        strengths = self._lambdas.split(len(self._parts[0]))
        for part, lambdas in zip(self._parts, strengths, strict=True):
            pressure = gate_regularizer(part[:, layers, heads], per_head=per_head)
            (lambdas * pressure).sum().backward()
        norms = torch.cat([_clip(part) for part in self._parts])
        before = logits.clone()
        self._adam.step()
        if not config.paper_clip:
            logits.clamp_(-LOGIT_BOUND, LOGIT_BOUND)
        logits.copy_(torch.where(self._running[:, None, None], logits, before))
        return losses, norms, before

    def _leave_settled(self) -> None:
        assert self._settling is not None
        self._running = ~self._settling.settled
        running = [fits[self._running[fits]] for fits in self._groups]
        self._groups = [fits for fits in running if len(fits)]


def _clip(logits: Tensor) -> Float[Tensor, "fit"]:
    """Clip the gradient of each gate matrix to norm 1; return the norms before."""
    gradient = logits.grad
    assert gradient is not None
    norms: Tensor = gradient.flatten(1).norm(dim=1)
    gradient *= (GRADIENT_NORM / norms.clamp(min=GRADIENT_NORM))[:, None, None]
    return norms

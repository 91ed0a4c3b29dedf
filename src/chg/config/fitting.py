"""Settings of fits: alone, and of contrastive ones."""

from __future__ import annotations

import math
from dataclasses import dataclass

from chg.config.choices import (
    DEFAULT_SEED,
    AblationKind,
    LambdaScale,
    Metric,
    Recompute,
    Settings,
    Unit,
    require_kind,
    require_positive,
    require_seed,
)
from chg.errors import ConfigError


@dataclass(frozen=True)
class OptimizerConfig(Settings):
    """Settings of the optimiser of gates."""

    lambda_reg: float = 0.0
    """Regularisation: 0 initialisation (G0), < 0 retention (G+, gates pushed up; typically -0.1 to
    -0.5), > 0 removal (G-, gates pushed down; typically 0.1 to 0.5)."""
    lr: float = 0.01
    """Fraction of the full gate range one update may move a gate; falls to a tenth. 0.005 to
    0.05."""
    epochs: int = 3
    """Passes over the rows. Updates matter, not epochs: 200 to 500 are usually enough."""
    max_steps: int | None = None
    """Stop after this many updates, whatever --epochs says."""
    batch_size: int = 4
    """Rows per forward pass."""
    grad_accum_steps: int = 1
    """Forward passes per update; the update sees batch_size x grad_accum_steps rows."""
    seed: int = DEFAULT_SEED
    """Seed of the starting gates, the order of rows and the choice of rows."""
    gate_init: str = "random"
    """Start of the gates: random (uniform in 0.02 to 0.98), uniform (in 0 to 1), open (0.98), or a
    number in (0, 1)."""
    lambda_scale: LambdaScale = "mean"
    """mean: lambda_reg times the mean of the clamped logits; per_head: times their sum."""
    unit: Unit = "head"
    """A gate for every query head, for every kv_group of heads that share keys and values, or with
    head_and_mlp for every query head and every MLP block."""
    ablation: AblationKind = "zero"
    """Replacement of a closed head: zero, its mean over the rows, or resample: its output in
    another row or in the row's corrupted prompt."""
    per_position: bool = False
    """With --ablation mean: a mean of every position by itself."""
    recompute: Recompute = "none"
    """Less memory for more time: compute each mlp, or each layer, again in the backward pass."""
    paper_clip: bool = False
    """Reproduce the published clip, which gives a gate outside its range no push back."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_kind(self.ablation, self.per_position)
        require_seed(self.seed)
        require_positive(
            lr=self.lr,
            epochs=self.epochs,
            max_steps=self.max_steps,
            batch_size=self.batch_size,
            grad_accum_steps=self.grad_accum_steps,
        )
        if self.gate_init not in ("random", "uniform", "open"):
            try:
                inside = 0 < float(self.gate_init) < 1
            except ValueError:
                inside = False
            if not inside:
                raise ConfigError(
                    f"--gate_init must be random, uniform, open, or a number between 0 and 1, "
                    f"got {self.gate_init!r}"
                )


@dataclass(frozen=True)
class FitConfig(OptimizerConfig):
    """Settings of a fit of gates."""

    metric: Metric = "logprob"
    """Measure that gates keep: logprob, the log-probability of targets; logit_diff, the logit of
    the target less that of a wrong answer (column foil); or kl, the likeness to the ungated model,
    without targets."""
    batch_tokens: int | None = None
    """Tokens per forward pass at most, in place of --batch_size rows; the update sees as many rows
    as before, those of like length together."""
    eval_rows: int = 64
    """Rows of training and of held-out data on which NLL figures are measured."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(eval_rows=self.eval_rows, batch_tokens=self.batch_tokens)


@dataclass(frozen=True)
class ContrastConfig(OptimizerConfig):
    """Settings of a fit of contrastive gates (paper, eq. 2)."""

    epochs: int = 5
    """Passes over the smaller side's rows."""
    alpha: float | str = 1.0
    """Weight of forgetting; 0 is plain retention. Several, as in 0.25,0.5,1,2,4, are fitted side by
    side for a trade-off curve."""
    both_directions: bool = False
    """Fit the reverse as well: retain what is forgotten, and forget what is retained."""
    bound: float = 5.0
    """Nats per token by which the retain side must beat the forget side; more earns nothing."""
    starts: int = 4
    """Starting points fitted side by side, from seed, seed + 1 ...; the best on held-out rows is
    kept."""
    eval_rows: int = 256
    """Held-out rows of each side on which NLL and accuracy are measured."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(bound=self.bound, starts=self.starts, eval_rows=self.eval_rows)
        _ = self.alphas

    @property
    def alphas(self) -> tuple[float, ...]:
        """Every weight of forgetting, ascending.

        Raises:
            ConfigError: one is no number, negative or there twice.
        """
        try:
            alphas = tuple(sorted(float(part) for part in str(self.alpha).strip("[]").split(",")))
        except ValueError:
            alphas = ()
        sound = all(0 <= alpha < math.inf for alpha in alphas)
        if not alphas or not sound or len(set(alphas)) < len(alphas):
            raise ConfigError(
                "--alpha must be a number of 0 or more, or different ones as in 0.5,1,2, "
                f"got {self.alpha}"
            )
        return alphas

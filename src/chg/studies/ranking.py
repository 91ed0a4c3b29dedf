"""The budgeted fit of a study: its heads ranked for every number of them kept."""

from __future__ import annotations

from hashlib import sha256

from jaxtyping import Float
from torch import Tensor

from chg.config import FitConfig, StudyConfig
from chg.engine import open_engine
from chg.fitting import BudgetedFit, Update, spread_ranks
from chg.progress import progress_bar
from chg.studies.waves import StudyInputs

NAME = "ranking"
"""Name of what is put aside."""
LR = 0.0125
"""Fraction of the range of scores that an update may move one."""


def fit_ranking(
    inputs: StudyInputs, removal: Float[Tensor, "seed layer head"]
) -> Float[Tensor, "layer head"]:
    """Rank heads by a budgeted fit that starts from the order of the removal gates.

    Args:
        inputs: model, rows and settings of the study.
        removal: logits of G-, of which the mean over seeds gives the order.

    Raises:
        DivergedError: the loss or its gradient became NaN or infinite.
    """
    config, folder = inputs.config, inputs.folder
    start = spread_ranks(removal.mean(0))
    begun = sha256(start.numpy().tobytes()).hexdigest()
    kept = folder.kept(NAME)
    state = kept[0] if kept and kept[1]["start"] == begun else None
    done = 0 if state is None else int(state["step"])
    show, total = inputs.show_progress, config.budget_steps
    with (
        open_engine(
            inputs.model,
            reference=inputs.reference,
            recompute=config.recompute,
            metric=config.metric,
        ) as engine,
        progress_bar(total, "ranking heads", show=show, initial=done) as bar,
    ):
        fit = BudgetedFit(engine, inputs.rows, settings_of(config), start)
        if state is not None:
            fit.optimizer.restore(state)

        def follow(update: Update) -> None:
            if update.step % config.checkpoint_every == 0 or update.step == total:
                bar.set_status(f"loss {float(update.losses.mean()):.3f}")
                folder.keep(NAME, fit.optimizer.state(), start=begun)
            bar.update()

        return fit.run(follow)


def settings_of(config: StudyConfig) -> FitConfig:
    """Take the settings of the budgeted fit from those of the study."""
    return FitConfig(
        max_steps=config.budget_steps,
        batch_size=config.batch_size,
        grad_accum_steps=config.grad_accum_steps,
        lr=LR,
        seed=config.seed,
        unit=config.unit,
        ablation=config.ablation,
        per_position=config.per_position,
        recompute=config.recompute,
        metric=config.metric,
    )

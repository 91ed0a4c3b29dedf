"""Gates learned from rows."""

from chg.fitting.budgeted import spread_ranks
from chg.fitting.contrastive import ContrastResult, fit_contrastive, fit_matched
from chg.fitting.fit import FitResult, fit_gates
from chg.fitting.losses import gate_regularizer, metric_loss
from chg.fitting.optimizer import GateOptimizer, OptimizerOptions, Schedule, Update, starting_logits
from chg.fitting.ranking import BudgetedFit, fit_budgeted
from chg.fitting.stopping import updates_between_looks
from chg.fitting.updates import MicroBatch, total_updates, update_batches

__all__ = [
    "BudgetedFit",
    "ContrastResult",
    "FitResult",
    "GateOptimizer",
    "MicroBatch",
    "OptimizerOptions",
    "Schedule",
    "Update",
    "fit_budgeted",
    "fit_contrastive",
    "fit_gates",
    "fit_matched",
    "gate_regularizer",
    "metric_loss",
    "spread_ranks",
    "starting_logits",
    "total_updates",
    "update_batches",
    "updates_between_looks",
]

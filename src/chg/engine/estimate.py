"""Estimates of all scores from gradients: integrated gradients of the metric over the gates.

Closing a head changes the metric by about its gate times the mean slope on the way. The slopes are
taken at a few points between 0.7 and 1 of the baseline, all gates at once; at the baseline alone
they rank heads wrongly. Costs a few forward and backward passes, however many heads there are.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from chg.data import TokenData
from chg.engine.engine import Engine
from chg.engine.evaluation import EvaluationOptions
from chg.errors import ModelError

ESTIMATE_POINTS = (1.0, 0.9, 0.8, 0.7)
"""Shares of the baseline gates at which the slopes are taken."""


def estimate_scores(
    engine: Engine,
    data: TokenData,
    baseline: Float[Tensor, "layer unit"],
    options: EvaluationOptions = EvaluationOptions(),  # noqa: B008 - frozen
) -> tuple[Float[Tensor, "layer unit"], float]:
    """Estimate every head's individual ablation score.

    Args:
        engine: a model that is open, with its metric and what closed gates become.
        data: rows whose target tokens are scored, where the metric is measured.
        baseline: the gates that all heads stay at.
        options: rows per pass at most, and whom to tell of progress.

    Returns:
        Scores in nats per token, 0 for a head whose gate is 0, and the metric at the baseline.

    Raises:
        ModelError: a gradient or log-probability is no number.
    """
    baseline = baseline.nan_to_num().cpu()
    path = baseline * torch.tensor(ESTIMATE_POINTS).view(-1, 1, 1)
    slopes, total = torch.zeros(baseline.shape, dtype=torch.float64), 0.0
    tokens = engine.token_budget // len(ESTIMATE_POINTS)
    for rows, batch in engine.batches(data, options.batch_size, tokens):
        gates = path.to(engine.device).requires_grad_()
        counts = torch.bincount(batch.sequences, minlength=len(batch))
        means = engine.measure(gates, batch)
        sums = (means * counts.to(means.device)).sum(1)
        (gradient,) = torch.autograd.grad(sums.sum(), gates)
        slopes += gradient.double().mean(0).cpu()
        total += float(sums[0].detach())
        if options.on_progress is not None:
            options.on_progress(len(rows) / len(data))
    if not math.isfinite(total + float(slopes.sum())):
        raise ModelError("the model's gradients are NaN or infinite; try --dtype float32")
    return -baseline * slopes / data.num_target_tokens, total / data.num_target_tokens

"""Measurement of competence: the ungated model on rows, and on the same with exchanged prompts."""

from __future__ import annotations

import numpy as np

from chg.config import Metric
from chg.data import TokenData, exchange_prompts, is_text, scored_for
from chg.engine.evaluation import SequenceScores, evaluate
from chg.models import AnyModel
from chg.results import Competence

LONG_ANSWER = 8
"""Target tokens of a middling row from which on tokens are counted as right, and not rows."""


def competence(
    model: AnyModel,
    data: TokenData,
    *,
    batch_size: int = 16,
    seed: int = 0,
    metric: Metric = "logprob",
) -> Competence:
    """Measure whether a model does a task, before its heads are asked what they do for it.

    Args:
        model: a causal language model; left as it is.
        data: held-out rows.
        batch_size: rows per forward pass at most.
        seed: draws the rows whose prompts are exchanged.
        metric: what gates are to keep: `logit_diff` looks at the tokens where foils part from
            targets, and `kl` asks for no right answers.

    Raises:
        ModelError: a log-probability is NaN or infinite.

    Example:
        >>> print(competence(model, data).sentence)  # doctest: +SKIP
    """
    data = scored_for(data, metric)
    own, exchanged = exchange_prompts(data, seed)
    whole = evaluate(model, data, batch_size=batch_size)
    same = whole if own == data else evaluate(model, own, batch_size=batch_size)
    wrong = evaluate(model, exchanged, batch_size=batch_size)
    gains = (same.logprob_sums - wrong.logprob_sums) / same.counts
    by_token = any(map(is_text, data.rows)) or float(np.median(whole.counts)) > LONG_ANSWER
    return Competence(
        rows=len(data),
        nll=whole.nll,
        accuracy=whole.accuracy if by_token else _rows_right(whole),
        counted="tokens" if by_token else "rows",
        exchanged_nll=wrong.nll,
        gain=float(gains.mean()),
        p_value=_p_value(gains),
        metric=metric,
    )


def _rows_right(scores: SequenceScores) -> float:
    return float((scores.correct == scores.counts).mean())


def _p_value(gains: np.ndarray) -> float | None:
    """P value of a mean above 0; None for a single row, 1 where all rows are the same."""
    from scipy.stats import ttest_1samp

    if len(gains) < 2:
        return None
    if np.ptp(gains) == 0:
        return float(gains[0] <= 0)
    return float(ttest_1samp(gains, 0, alternative="greater").pvalue)

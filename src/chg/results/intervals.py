"""Intervals and tests: what may be said of a figure, given how often it was measured.

Each is shown to hold by `benchmarks/evidence.py` (docs/evidence.md#intervals).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95
SIGNIFICANT = 0.05
"""Largest `q` of an effect called significant: the share of such calls that may be wrong."""

Array = NDArray[np.float64]


def t_interval(values: Array) -> tuple[Array, Array]:
    """Interval of the mean over seeds, by Student's t distribution.

    Args:
        values: `[seed, ...]`.

    Returns:
        Lower and upper bounds (95 %), in the shape of `values` without its first axis; NaN where
        there is a single seed, or a value is NaN.
    """
    seeds = len(values)
    mean = values.mean(0)
    if seeds < 2:
        return np.full_like(mean, np.nan), np.full_like(mean, np.nan)
    reach = t_quantile(seeds) * values.std(0, ddof=1) / np.sqrt(seeds)
    return mean - reach, mean + reach


def t_quantile(measurements: int) -> float:
    """Standard errors on either side of a mean of so many that its interval spans (95 %)."""
    from scipy.stats import t

    return float(t.ppf((1 + CONFIDENCE) / 2, measurements - 1))


def jeffreys_interval(successes: NDArray[np.int64], tries: int) -> tuple[Array, Array]:
    """Interval of a share, from successes in so many tries, by Jeffreys' prior (95 %).

    The bounds are 0 and 1 where none or all succeeded (Brown, Cai and DasGupta, 2001).
    """
    from scipy.stats import beta

    tail = (1 - CONFIDENCE) / 2
    low = beta.ppf(tail, successes + 0.5, tries - successes + 0.5)
    high = beta.ppf(1 - tail, successes + 0.5, tries - successes + 0.5)
    return np.where(successes == 0, 0.0, low), np.where(successes == tries, 1.0, high)


def p_values(scores: Array, stderrs: Array, sequences: int) -> Array:
    """P values of scores, two-sided, from a t test over the sequences that they are means over.

    NaN where a score is, and everywhere with a single sequence. A score without spread is certain:
    1 for a score of 0, 0 for any other.
    """
    from scipy.stats import t

    if sequences < 2:
        return np.full_like(scores, np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.abs(scores) / stderrs
    ratio = np.where((scores == 0) & (stderrs == 0), 0.0, ratio)
    return np.asarray(2 * t.sf(ratio, sequences - 1))


def q_values(p: Array) -> Array:
    """Benjamini and Hochberg's `q` over all tests together: an array like `p`, NaN where it is."""
    from scipy.stats import false_discovery_control

    known = np.isfinite(p)
    q = np.full(p.shape, np.nan)
    if known.any():
        q[known] = false_discovery_control(p[known])
    return q


def auroc_interval(auroc: float, inside: int, outside: int) -> tuple[float, float]:
    """Interval of an area under the ROC curve, for so many cases inside and outside (95 %).

    All areas are taken whose own standard error does not rule out the one that was found (Newcombe,
    2006; the standard error is Hanley and McNeil's, 1982). So it has a width at areas of 0 and 1
    too, and for few cases.
    """
    from scipy.optimize import brentq
    from scipy.stats import norm

    reach = float(norm.ppf((1 + CONFIDENCE) / 2))

    def beyond(area: float, sign: float) -> float:
        one = area / (2 - area) - area**2
        other = 2 * area**2 / (1 + area) - area**2
        variance = area * (1 - area) + (inside - 1) * one + (outside - 1) * other
        return sign * (auroc - area) - reach * float(
            np.sqrt(max(variance, 0.0) / (inside * outside))
        )

    tiny = 1e-12  # at 0 and at 1 itself the standard error is 0
    low = 0.0 if auroc <= tiny else brentq(beyond, 0, min(auroc, 1 - tiny), (1,))
    high = 1.0 if auroc >= 1 - tiny else brentq(beyond, max(auroc, tiny), 1, (-1,))
    return float(low), float(high)

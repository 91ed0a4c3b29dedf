"""Contrastive results made up, without a model."""

from __future__ import annotations

from chg.results.contrast import (
    ContrastFit,
    ContrastRun,
    SideMetrics,
)


def side_metrics(retain_nll: float, forget_nll: float) -> tuple[SideMetrics, SideMetrics]:
    """Measures of both sides at one point of a curve."""
    return (
        SideMetrics(0.1, retain_nll, retain_nll, 1.0, 0.5, 0.5),
        SideMetrics(0.1, forget_nll, forget_nll, 1.0, 0.5, 0.5),
    )


def example_run() -> ContrastRun:
    """Two alphas from two starts each; the first start is the better one."""
    fits = tuple(
        ContrastFit(alpha, start, 42 + start, *side_metrics(0.1 + alpha * start, 1.0 + alpha))
        for alpha in (2.0, 0.5)
        for start in (0, 1)
    )
    return ContrastRun(fits, 0, ("a warning",))

"""Heads taken out, and what happens then."""

from chg.ablation.ablate import ablate_heads
from chg.ablation.causal_check import causal_check
from chg.ablation.estimate import estimate_scores
from chg.ablation.scores import individual_scores

__all__ = [
    "ablate_heads",
    "causal_check",
    "estimate_scores",
    "individual_scores",
]

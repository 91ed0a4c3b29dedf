"""Heads taken out: exactly, screened or estimated, alone, in turn and together."""

from chg.ablation.ablate import ablate_heads
from chg.ablation.causal_check import affordable, causal_check
from chg.ablation.estimate import estimate_scores
from chg.ablation.scores import ClosedAlone, individual_scores
from chg.ablation.together import close_pairs, close_roles

__all__ = [
    "ClosedAlone",
    "ablate_heads",
    "affordable",
    "causal_check",
    "close_pairs",
    "close_roles",
    "estimate_scores",
    "individual_scores",
]

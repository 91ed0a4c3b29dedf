"""Heads taken out: exactly, screened or estimated, alone, in turn and together."""

from chg.ablation.ablate import ablate_heads
from chg.ablation.causal_check import affordable, causal_check
from chg.ablation.faithfulness import faithfulness, measure_faithfulness
from chg.ablation.rankings import (
    PASSES_OF_A_GRADIENT,
    RANDOM_ORDERS,
    STUDY_RANKINGS,
    AnyRanking,
    random_ranking,
    study_rankings,
)
from chg.ablation.scores import ClosedAlone, individual_scores
from chg.ablation.together import close_pairs, close_roles

__all__ = [
    "PASSES_OF_A_GRADIENT",
    "RANDOM_ORDERS",
    "STUDY_RANKINGS",
    "AnyRanking",
    "ClosedAlone",
    "ablate_heads",
    "affordable",
    "causal_check",
    "close_pairs",
    "close_roles",
    "faithfulness",
    "individual_scores",
    "measure_faithfulness",
    "random_ranking",
    "study_rankings",
]

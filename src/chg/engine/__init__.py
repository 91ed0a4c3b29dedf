"""Many gate matrices on a batch of rows, exactly, with what they share computed once."""

from chg.engine.capabilities import capabilities
from chg.engine.competence import competence
from chg.engine.engine import Engine, open_engine
from chg.engine.estimate import ESTIMATE_POINTS, estimate_scores
from chg.engine.evaluation import (
    Evaluate,
    EvaluationOptions,
    SequenceScores,
    evaluate,
    evaluate_gates,
    evaluate_open,
)
from chg.engine.inspection import Inspection, inspect_model
from chg.engine.memory import MemoryEstimate, estimate_memory
from chg.engine.patterns import PATTERN_TOKENS, attention_patterns
from chg.engine.targets import Targets

__all__ = [
    "ESTIMATE_POINTS",
    "PATTERN_TOKENS",
    "Engine",
    "Evaluate",
    "EvaluationOptions",
    "Inspection",
    "MemoryEstimate",
    "SequenceScores",
    "Targets",
    "attention_patterns",
    "capabilities",
    "competence",
    "estimate_memory",
    "estimate_scores",
    "evaluate",
    "evaluate_gates",
    "evaluate_open",
    "inspect_model",
    "open_engine",
]

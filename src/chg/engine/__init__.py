"""Many gate matrices on a batch of rows, exactly, with what they share computed once."""

from chg.engine.capabilities import capabilities
from chg.engine.engine import logprobs_of_fits, max_shared_length, partial_forward, token_budget
from chg.engine.evaluation import Evaluate, SequenceScores, evaluate, evaluate_gates
from chg.engine.inspection import Inspection, inspect_model
from chg.engine.log_probs import ready
from chg.engine.memory import MemoryEstimate, estimate_memory
from chg.engine.partial_forward import PartialForward

__all__ = [
    "Evaluate",
    "Inspection",
    "MemoryEstimate",
    "PartialForward",
    "SequenceScores",
    "capabilities",
    "estimate_memory",
    "evaluate",
    "evaluate_gates",
    "inspect_model",
    "logprobs_of_fits",
    "max_shared_length",
    "partial_forward",
    "ready",
    "token_budget",
]

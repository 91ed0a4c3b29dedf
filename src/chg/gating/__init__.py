"""Gates: put on a model and taken off."""

from chg.gating.check import check_head_sites
from chg.gating.gate_wrapper import attach, gated, get_attention_module
from chg.gating.gates import LOGIT_BOUND, HeadGates, count_gates
from chg.gating.hooks import AttachedGates, require_reference_for, scale_heads, scale_mlp
from chg.gating.mlp_check import check_mlp_sites
from chg.gating.references import (
    Reference,
    at_scored_positions,
    describe_reference,
    make_reference,
    prepare,
    repeat_for_rows,
)
from chg.gating.rows import require_rows_for
from chg.gating.sources import (
    FOR_FITTING,
    AnyGates,
    describe_gates,
    gate_values,
    resolve_gates,
    study_of,
)

__all__ = [
    "FOR_FITTING",
    "LOGIT_BOUND",
    "AnyGates",
    "AttachedGates",
    "HeadGates",
    "Reference",
    "at_scored_positions",
    "attach",
    "check_head_sites",
    "check_mlp_sites",
    "count_gates",
    "describe_gates",
    "describe_reference",
    "gate_values",
    "gated",
    "get_attention_module",
    "make_reference",
    "prepare",
    "repeat_for_rows",
    "require_reference_for",
    "require_rows_for",
    "resolve_gates",
    "scale_heads",
    "scale_mlp",
    "study_of",
]

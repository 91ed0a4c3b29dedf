"""CHG: find out what every attention head of a language model does for a task.

    import chg
    model, tokenizer = chg.load_model("builtin:tiny")
    data = chg.load_data("builtin:icl", tokenizer)
    fit = chg.fit_gates(model, data, max_steps=200)
    with chg.gated(model, fit.gates):
        ...

Names are loaded when first used, so that `import chg` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chg.ablation import ablate_heads
    from chg.architectures import find_head_sites
    from chg.config import (
        AblationConfig,
        AnalysisConfig,
        ContrastConfig,
        DataConfig,
        FitConfig,
        ModelConfig,
        StudyConfig,
    )
    from chg.contrast_results import ContrastResults
    from chg.contrastive import ContrastResult, fit_contrastive, fit_matched
    from chg.data import (
        TokenData,
        load_data,
        load_prompts,
        load_tuples,
        split_tuples,
        tokenize_pairs,
        tokenize_texts,
        with_partners,
    )
    from chg.errors import ChgError
    from chg.evaluation import evaluate, evaluate_gates
    from chg.fitting import FitResult, fit_gates
    from chg.gate_wrapper import attach, gated, get_attention_module
    from chg.gates import HeadGates
    from chg.inspection import Inspection, inspect_model
    from chg.layouts import register_architecture
    from chg.loading import load_model
    from chg.memory import MemoryEstimate, estimate_memory
    from chg.pipeline import study
    from chg.references import Reference, make_reference
    from chg.report import analyze
    from chg.results import AblationResult
    from chg.studies import Study
    from chg.taxonomy import Taxonomy, classify_heads
    from chg.validation import Validation, validate

_HOMES = {
    "ablation": ["ablate_heads"],
    "architectures": ["find_head_sites"],
    "config": [
        "AblationConfig",
        "AnalysisConfig",
        "ContrastConfig",
        "DataConfig",
        "FitConfig",
        "ModelConfig",
        "StudyConfig",
    ],
    "contrast_results": ["ContrastResults"],
    "contrastive": ["ContrastResult", "fit_contrastive", "fit_matched"],
    "data": [
        "TokenData",
        "load_data",
        "load_prompts",
        "load_tuples",
        "split_tuples",
        "tokenize_pairs",
        "tokenize_texts",
        "with_partners",
    ],
    "errors": ["ChgError"],
    "evaluation": ["evaluate", "evaluate_gates"],
    "fitting": ["FitResult", "fit_gates"],
    "gate_wrapper": ["attach", "gated", "get_attention_module"],
    "gates": ["HeadGates"],
    "layouts": ["register_architecture"],
    "inspection": ["Inspection", "inspect_model"],
    "loading": ["load_model"],
    "memory": ["MemoryEstimate", "estimate_memory"],
    "references": ["Reference", "make_reference"],
    "pipeline": ["study"],
    "report": ["analyze"],
    "results": ["AblationResult"],
    "studies": ["Study"],
    "validation": ["Validation", "validate"],
    "taxonomy": ["Taxonomy", "classify_heads"],
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "AblationConfig",
    "AblationResult",
    "AnalysisConfig",
    "ChgError",
    "ContrastConfig",
    "ContrastResult",
    "ContrastResults",
    "DataConfig",
    "FitConfig",
    "FitResult",
    "HeadGates",
    "Inspection",
    "MemoryEstimate",
    "ModelConfig",
    "Reference",
    "Study",
    "StudyConfig",
    "Taxonomy",
    "TokenData",
    "Validation",
    "ablate_heads",
    "analyze",
    "attach",
    "classify_heads",
    "estimate_memory",
    "evaluate",
    "evaluate_gates",
    "find_head_sites",
    "fit_contrastive",
    "fit_gates",
    "fit_matched",
    "gated",
    "get_attention_module",
    "inspect_model",
    "load_data",
    "load_model",
    "load_prompts",
    "load_tuples",
    "make_reference",
    "register_architecture",
    "split_tuples",
    "study",
    "tokenize_pairs",
    "tokenize_texts",
    "validate",
    "with_partners",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'chg' has no attribute {name!r}")
    return getattr(importlib.import_module(f"chg.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)

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
from typing import Any

__version__ = "0.1.0"

_NAMES = {
    "ablation": ["ablate_heads", "faithfulness"],
    "config": [
        "AblationConfig",
        "AnalysisConfig",
        "ContrastConfig",
        "DataConfig",
        "FitConfig",
        "ModelConfig",
        "StudyConfig",
    ],
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
    "engine": [
        "Inspection",
        "MemoryEstimate",
        "attention_patterns",
        "competence",
        "estimate_memory",
        "evaluate",
        "evaluate_gates",
        "inspect_model",
    ],
    "errors": ["ChgError"],
    "fitting": [
        "ContrastResult",
        "FitResult",
        "fit_budgeted",
        "fit_contrastive",
        "fit_gates",
        "fit_matched",
    ],
    "gating": [
        "HeadGates",
        "Reference",
        "attach",
        "gated",
        "get_attention_module",
        "make_reference",
    ],
    "models": ["find_head_sites", "frozen", "load_model", "register_architecture"],
    "report": ["Comparison", "Study", "analyze", "compare"],
    "results": [
        "AblationResult",
        "AttentionPatterns",
        "Competence",
        "ContrastResults",
        "Faithfulness",
        "Taxonomy",
        "classify_heads",
    ],
    "studies": ["Validation", "study", "validate"],
    "task_rows": ["tasks"],
}
"""Package -> the public names that it provides."""

_HOME = {name: package for package, names in _NAMES.items() for name in names}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'chg' has no attribute {name!r}")
    return getattr(importlib.import_module(f"chg.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]

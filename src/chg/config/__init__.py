"""Settings of every command."""

from chg.config.ablation import AblationConfig, AnalysisConfig
from chg.config.choices import (
    ABLATION_WORDS,
    CLOSED_BELOW,
    OPEN_ABOVE,
    UNIT_LETTERS,
    UNIT_NAMES,
    VERDICT_THRESHOLD,
    AblationKind,
    Head,
    Recompute,
    Reporter,
    Unit,
    head_label,
)
from chg.config.data import (
    DEFAULT_DATASET,
    AblationData,
    DataConfig,
    ForgetData,
    ReferenceData,
    RetainData,
    SharedData,
    TupleData,
)
from chg.config.fitting import ContrastConfig, FitConfig, OptimizerConfig
from chg.config.model import MemoryConfig, ModelConfig
from chg.config.study import CheckConfig, StudyConfig

__all__ = [
    "ABLATION_WORDS",
    "CLOSED_BELOW",
    "DEFAULT_DATASET",
    "OPEN_ABOVE",
    "UNIT_LETTERS",
    "UNIT_NAMES",
    "VERDICT_THRESHOLD",
    "AblationConfig",
    "AblationData",
    "AblationKind",
    "AnalysisConfig",
    "CheckConfig",
    "ContrastConfig",
    "DataConfig",
    "FitConfig",
    "ForgetData",
    "Head",
    "MemoryConfig",
    "ModelConfig",
    "OptimizerConfig",
    "Recompute",
    "ReferenceData",
    "Reporter",
    "RetainData",
    "SharedData",
    "StudyConfig",
    "TupleData",
    "Unit",
    "head_label",
]

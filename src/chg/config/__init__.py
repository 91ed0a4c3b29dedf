"""Settings of all jobs, as frozen dataclasses: defaults < YAML file < flags.

The text under a field is its help on the command line. The same objects serve Python, YAML and the
command line; each validates itself once, when it is made. Nothing heavy is imported here, so that
`--help` answers at once.
"""

from chg.config.ablation import AblationConfig, AnalysisConfig
from chg.config.choices import (
    ABLATION_WORDS,
    CLOSED_BELOW,
    DEFAULT_SEED,
    METRIC_WORDS,
    MLP,
    OPEN_ABOVE,
    UNIT_NAMES,
    VERDICT_THRESHOLD,
    AblationKind,
    AblationMode,
    AblationOrder,
    Head,
    Metric,
    MetricWords,
    Quantize,
    Recompute,
    Reporter,
    Stage,
    Unit,
    column_label,
    head_label,
)
from chg.config.comparison import CompareConfig
from chg.config.data import (
    DEFAULT_DATASET,
    AblationData,
    DataConfig,
    ForgetData,
    ReferenceData,
    RetainData,
    SharedData,
    TaskCheck,
    TupleData,
)
from chg.config.export import ExportConfig
from chg.config.fitting import ContrastConfig, FitConfig, OptimizerConfig
from chg.config.model import InspectionConfig, MeasuredModel, MemoryConfig, ModelConfig
from chg.config.recipes import RECIPES, Recipe
from chg.config.study import CheckConfig, StudyConfig

__all__ = [
    "ABLATION_WORDS",
    "CLOSED_BELOW",
    "DEFAULT_DATASET",
    "DEFAULT_SEED",
    "METRIC_WORDS",
    "MLP",
    "OPEN_ABOVE",
    "RECIPES",
    "UNIT_NAMES",
    "VERDICT_THRESHOLD",
    "AblationConfig",
    "AblationData",
    "AblationKind",
    "AblationMode",
    "AblationOrder",
    "AnalysisConfig",
    "CheckConfig",
    "CompareConfig",
    "ContrastConfig",
    "DataConfig",
    "ExportConfig",
    "FitConfig",
    "ForgetData",
    "Head",
    "InspectionConfig",
    "MeasuredModel",
    "MemoryConfig",
    "Metric",
    "MetricWords",
    "ModelConfig",
    "OptimizerConfig",
    "Quantize",
    "Recipe",
    "Recompute",
    "ReferenceData",
    "Reporter",
    "RetainData",
    "SharedData",
    "Stage",
    "StudyConfig",
    "TaskCheck",
    "TupleData",
    "Unit",
    "column_label",
    "head_label",
]

"""Results: typed, on disk, and read without a model."""

from chg.results.ablation import AblationResult, HeadScore, Method, Step
from chg.results.agreement import rank_correlation
from chg.results.causal import CausalCurve, Correlation, write_checks
from chg.results.contrast import (
    ContrastFit,
    ContrastResults,
    ContrastRun,
    SideMetrics,
    mean_and_spread,
)
from chg.results.convergence import Convergence, FitMotion, read_convergence
from chg.results.heads_table import heads_table
from chg.results.provenance import git_commit, origin, package_versions
from chg.results.roles import ROLE_OF, ROLES, SCORES, Taxonomy, classify_heads
from chg.results.stages import STAGE_NAMES, STAGES, LogitsOfStudy, Stage
from chg.results.study import CHECKS, GATES, METRICS, StudyResults
from chg.results.study_scores import Effects, PathScores, StudyScores, read_path, read_scores

__all__ = [
    "CHECKS",
    "GATES",
    "METRICS",
    "ROLES",
    "ROLE_OF",
    "SCORES",
    "STAGES",
    "STAGE_NAMES",
    "AblationResult",
    "CausalCurve",
    "ContrastFit",
    "ContrastResults",
    "ContrastRun",
    "Convergence",
    "Correlation",
    "Effects",
    "FitMotion",
    "HeadScore",
    "LogitsOfStudy",
    "Method",
    "PathScores",
    "SideMetrics",
    "Stage",
    "Step",
    "StudyResults",
    "StudyScores",
    "Taxonomy",
    "classify_heads",
    "git_commit",
    "heads_table",
    "mean_and_spread",
    "origin",
    "package_versions",
    "rank_correlation",
    "read_convergence",
    "read_path",
    "read_scores",
    "write_checks",
]

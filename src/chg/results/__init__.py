"""Results: typed, on disk, and read without a model."""

from chg.config import Stage
from chg.results.ablation import AblationResult, HeadScore, Method, Step
from chg.results.agreement import Agreement, rank_correlation
from chg.results.causal import CausalCurve, Checks, Correlation, GroupEffect, write_checks
from chg.results.compared_runs import ComparedRun, RunPair
from chg.results.compared_studies import NamedStudy, compare_studies, require_one_shape
from chg.results.comparison import COMPARISON, ComparisonResults
from chg.results.competence import TUNED, Competence
from chg.results.contrast import (
    ContrastFit,
    ContrastResults,
    ContrastRun,
    SideMetrics,
    mean_and_spread,
)
from chg.results.convergence import Convergence, FitMotion, read_convergence
from chg.results.disagreement import nothing_below
from chg.results.faithfulness import (
    BUDGETED,
    ENOUGH,
    FACILITATION,
    Bounded,
    Faithfulness,
    FaithfulnessCurve,
    Ranking,
    sizes_of,
)
from chg.results.head_differences import APART, FEWEST_SEEDS
from chg.results.heads_table import heads_table, lambda_range
from chg.results.intervals import SIGNIFICANT, p_values, q_values, t_quantile
from chg.results.known_heads import KNOWN_ABOVE, KnownHeads, Separation, more_than_drawn, separation
from chg.results.likeness import Likeness
from chg.results.patterns import PATTERNS, AttentionPatterns
from chg.results.provenance import git_commit, origin, package_versions
from chg.results.redundancy import MOST_PAIRS, RedundantPair, propose_pairs
from chg.results.roles import (
    FAMILIES,
    ROLE_OF,
    ROLES,
    SCORES,
    UNDECIDED,
    Taxonomy,
    classify_heads,
    in_family,
    role_over_seeds,
)
from chg.results.stages import STAGE_NAMES, STAGES, LogitsOfStudy
from chg.results.study import CHECKS, FAITHFULNESS, GATES, METRICS, StudyResults
from chg.results.study_files import read_manifest
from chg.results.study_scores import Effects, PathScores, StudyScores, read_path, read_scores

__all__ = [
    "APART",
    "BUDGETED",
    "CHECKS",
    "COMPARISON",
    "ENOUGH",
    "FACILITATION",
    "FAITHFULNESS",
    "FAMILIES",
    "FEWEST_SEEDS",
    "GATES",
    "KNOWN_ABOVE",
    "METRICS",
    "MOST_PAIRS",
    "PATTERNS",
    "ROLES",
    "ROLE_OF",
    "SCORES",
    "SIGNIFICANT",
    "STAGES",
    "STAGE_NAMES",
    "TUNED",
    "UNDECIDED",
    "AblationResult",
    "Agreement",
    "AttentionPatterns",
    "Bounded",
    "CausalCurve",
    "Checks",
    "ComparedRun",
    "ComparisonResults",
    "Competence",
    "ContrastFit",
    "ContrastResults",
    "ContrastRun",
    "Convergence",
    "Correlation",
    "Effects",
    "Faithfulness",
    "FaithfulnessCurve",
    "FitMotion",
    "GroupEffect",
    "HeadScore",
    "KnownHeads",
    "Likeness",
    "LogitsOfStudy",
    "Method",
    "NamedStudy",
    "PathScores",
    "Ranking",
    "RedundantPair",
    "RunPair",
    "Separation",
    "SideMetrics",
    "Stage",
    "Step",
    "StudyResults",
    "StudyScores",
    "Taxonomy",
    "classify_heads",
    "compare_studies",
    "git_commit",
    "heads_table",
    "in_family",
    "lambda_range",
    "mean_and_spread",
    "more_than_drawn",
    "nothing_below",
    "origin",
    "p_values",
    "package_versions",
    "propose_pairs",
    "q_values",
    "rank_correlation",
    "read_convergence",
    "read_manifest",
    "read_path",
    "read_scores",
    "require_one_shape",
    "role_over_seeds",
    "separation",
    "sizes_of",
    "t_quantile",
    "write_checks",
]

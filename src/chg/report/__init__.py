"""Results, drawn and written for people."""

from chg.report.comparison import Comparison, compare
from chg.report.folder import analyze, save_figures, save_study, save_tradeoff
from chg.report.study import Study

__all__ = [
    "Comparison",
    "Study",
    "analyze",
    "compare",
    "save_figures",
    "save_study",
    "save_tradeoff",
]

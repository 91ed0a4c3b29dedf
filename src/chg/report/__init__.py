"""Reading results: rankings, pictures and a text summary."""

from chg.report.analysis import Analysis, analyze

__all__ = ["Analysis", "analyze"]

"""Studies: many fits, one folder, a report; resumable."""

from chg.studies.run import plan, study
from chg.studies.validation import Validation, validate

__all__ = [
    "Validation",
    "plan",
    "study",
    "validate",
]

"""Competence: can the model do the task at all? (docs/evidence.md#competence)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from chg.config import Metric
from chg.results.schema import Figure, open_ended

SURE = 0.01
"""Largest p value at which the model counts as better than with exchanged prompts."""
LEAST_ACCURACY = 0.1
"""Accuracy below which a model does not do a task, however much better than chance it is."""
TUNED = 0.1
"""Share of the gap to exchanged prompts by which gates that tune the model beat it, at least."""


@open_ended
@dataclass(frozen=True)
class Competence:
    """Figures of the ungated model on held-out rows, beside those with exchanged prompts."""

    rows: int
    nll: float
    """Mean negative log-probability of target tokens, nats per token."""
    accuracy: float
    """Share of `counted` that are right."""
    counted: str
    """`rows`, right when every target token is; `tokens` for text and long answers."""
    exchanged_nll: float
    """NLL of the same targets after the prompts of other rows; for text, of its second halves."""
    gain: float
    """Nats per token by which a row's own prompt is better, mean over rows."""
    p_value: Figure | None
    """P value of the gain, paired over rows, one-sided; None for a single row."""
    metric: Metric = "logprob"
    """Measure that gates keep; `kl` asks for no right answers."""

    @property
    def helps(self) -> bool:
        """True where a row's own prompt is better than another's for sure."""
        return self.p_value is not None and self.p_value < SURE and self.gain > 0

    @property
    def does_task(self) -> bool:
        """True where prompts help for sure, and the answers are right often enough."""
        return self.helps and self.accuracy >= LEAST_ACCURACY

    @property
    def has_grounds(self) -> bool:
        """True where findings say something of the task, or right answers are not asked for."""
        return self.does_task or self.metric == "kl"

    @property
    def shows_task(self) -> bool:
        """False where there is no sign of the task: prompts do not help, and hardly any answer is
        right. What gates do there is to make wrong answers less sure, and no role has grounds; but
        where they keep the model's own predictions, there is nothing to be right about."""
        return self.helps or self.accuracy >= LEAST_ACCURACY or self.metric == "kl"

    @property
    def figures(self) -> str:
        """Accuracy and NLL, in words."""
        return (
            f"{self.accuracy:.0%} of {self.rows} {self._subject} right, NLL "
            f"{self.nll:.3f} nats per token ({self.exchanged_nll:.3f} with the prompts of other "
            "rows)"
        )

    @property
    def sentence(self) -> str:
        """Say whether the model does the task, with the figures."""
        if self.does_task:
            return f"The model does this task: {self.figures}."
        if self.p_value is None:
            return f"One row cannot say whether the model does this task: {self.figures}."
        why = (
            "its accuracy is below 10 %"
            if self.helps
            else f"a row's own prompt helps no more than another's, p = {self.p_value:.2g}"
        )
        told = f"The model does not do this task ({why}): {self.figures}."
        if self.metric == "kl":
            return f"{told} Gates keep its own predictions, whether they are right or wrong."
        return f"{told} Gates cannot show what it uses for it."

    @property
    def _subject(self) -> str:
        return "rows" if self.counted == "rows" else "rows' tokens"

    def tuning(self, nll: float) -> float | None:
        """Share of the gap to exchanged prompts by which gates with this NLL beat the model.

        Negative where they are worse; None where there is no gap.
        """
        return (self.nll - nll) / self.gain if self.gain > 0 else None

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON, with the verdict and its sentence."""
        return {**asdict(self), "does_task": self.does_task, "sentence": self.sentence}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Competence:
        """Read what `as_dict` gave."""
        return cls(**{name: content[name] for name in cls.__dataclass_fields__ if name in content})

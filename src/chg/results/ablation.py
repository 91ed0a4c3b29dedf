"""Ablation results on disk: JSON, typed and versioned."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from chg.config import (
    ABLATION_WORDS,
    METRIC_WORDS,
    AblationKind,
    AblationMode,
    AblationOrder,
    Head,
    MetricWords,
    Unit,
    head_label,
)
from chg.errors import ResultsError
from chg.files import read_json, write_json
from chg.results.schema import Count, Place, read_record

FORMAT_VERSION = 1
KIND = "an ablation result as `chg ablate` writes it"
"""Name of a results file in error messages."""

Method = Literal["exact", "screening", "estimate"]
"""exact: in the model's own precision. screening: multiplied in bfloat16. estimate: gradients."""


@dataclass(frozen=True)
class HeadScore:
    """Effect of ablating one head alone, in nats per token."""

    layer: Place
    head: Place
    score: float
    stderr: float | None
    """Standard error over sequences; None for a single sequence, and for an estimate."""
    exact: bool = True
    """False for a score that was screened or estimated and not confirmed."""


@dataclass(frozen=True)
class Step:
    """One step of sequential ablation, in nats per token."""

    step: Count
    """Counted from 1."""
    layer: Place
    head: Place
    metric: float
    """Mean metric with this and all earlier heads out."""
    score: float
    """Against the baseline."""
    delta: float
    """Against the step before."""
    stderr: float | None
    """Standard error of `score` over sequences."""


@dataclass(frozen=True)
class AblationResult:
    """Results of one ablation run: `heads`, or in sequential mode `order` and `steps`."""

    mode: AblationMode
    model: str
    dataset: str
    baseline: float
    """Mean metric with no head ablated, nats per token: the target log-probability, as a rule."""
    num_sequences: Count
    num_target_tokens: Count
    seconds: float
    """Time of the evaluation alone, without loading."""
    num_layers: Place | None = None
    """Rows of the gate matrix; None in old files, where `shape` reads them off the heads."""
    num_heads: Place | None = None
    """Columns of the gate matrix: the most heads of any layer."""
    unit: Unit = "head"
    """Unit that was ablated: a query head, a `kv_group` of query heads, or heads and MLPs."""
    ablation: AblationKind = "zero"
    """Kind of replacement of an ablated head."""
    method: Method = "exact"
    """Method behind the scores that are not marked exact."""
    metric: str = METRIC_WORDS["logprob"].stored
    """Measure of the model, as `METRIC_WORDS` stores it."""
    order: AblationOrder | None = None
    heads: tuple[HeadScore, ...] = ()
    steps: tuple[Step, ...] = ()
    metadata: dict[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        found = self.heads or self.steps
        scored = [(entry.score, self.name(entry.layer, entry.head)) for entry in found]
        ends = "; lowest {1} {0:+.4f}, highest {3} {2:+.4f}".format(*min(scored), *max(scored))
        return (
            f"<AblationResult of {self.model} on {self.dataset}, {self.mode}, baseline "
            f"{self.baseline:.4f} nats per token, {len(found)} scores{ends if scored else ''}>"
        )

    @property
    def shape(self) -> tuple[int, int]:
        """`(layers, heads)` of the gate matrix."""
        if self.num_layers and self.num_heads:
            return self.num_layers, self.num_heads
        last_layer, last_head = (max(indices) for indices in zip(*self._ablated, strict=True))
        return last_layer + 1, last_head + 1

    @property
    def _ablated(self) -> list[Head]:
        return [(entry.layer, entry.head) for entry in self.heads or self.steps]

    def name(self, layer: int, head: int) -> str:
        """Name of a head, `L3H7`, of a key-value group, `L3G1`, or of an MLP, `L3MLP`."""
        return head_label(layer, head, self.unit, self.shape[1])

    @property
    def scores(self) -> NDArray[np.float64]:
        """Individual scores, or changes at the heads' steps, `[layer, head]`; NaN for none."""
        matrix = np.full(self.shape, np.nan)
        for head in self.heads:
            matrix[head.layer, head.head] = head.score
        for step in self.steps:
            matrix[step.layer, step.head] = step.delta
        return matrix

    @property
    def stderrs(self) -> NDArray[np.float64]:
        """Standard errors of individual scores, `[layer, head]`; NaN where there are none."""
        matrix = np.full(self.shape, np.nan)
        for head in self.heads:
            matrix[head.layer, head.head] = np.nan if head.stderr is None else head.stderr
        return matrix

    @property
    def exact(self) -> NDArray[np.bool_]:
        """True for scores that were neither screened nor estimated, `[layer, head]`."""
        matrix = np.full(self.shape, self.method == "exact")
        for head in self.heads:
            matrix[head.layer, head.head] = head.exact
        return matrix

    @property
    def metric_words(self) -> MetricWords:
        """Words for what was measured."""
        known = {words.stored: words for words in METRIC_WORDS.values()}
        return known.get(self.metric, MetricWords(name=self.metric, stored=self.metric))

    @property
    def ablation_note(self) -> str:
        """A remark on the replacement of ablated heads; empty where it is zero."""
        return ABLATION_WORDS[self.ablation].note

    @property
    def method_note(self) -> str:
        """A remark on scores that are not exact; empty where all are."""
        if self.method == "exact":
            return ""
        note = {
            "screening": "screened in bfloat16; rounding is as large as the weakest heads' scores",
            "estimate": "estimated from gradients, not ablated",
        }[self.method]
        confirmed = sum(head.exact for head in self.heads)
        return f"{note}; {confirmed} of {len(self.heads)} heads confirmed exactly"

    def save(self, path: str | Path) -> Path:
        """Write the result as JSON, atomically; returns the path.

        Raises:
            OutputError: `path` cannot be written.
        """
        content = {"format_version": FORMAT_VERSION, **dataclasses.asdict(self)}
        for name in ("order", "steps") if self.mode != "sequential" else ("heads",):
            del content[name]
        write_json(path, content, allow_nan=False)
        return Path(path)

    @classmethod
    def load(cls, path: str | Path) -> AblationResult:
        """Read a results file.

        Raises:
            ResultsError: the file is missing, damaged or not an ablation result.
        """
        path = Path(path)
        if not path.is_file():
            raise ResultsError(f"results file {path} does not exist; make one with `chg ablate`")
        content = read_json(path, KIND)
        content.pop("format_version", None)
        result = read_record(cls, content, path, KIND)
        if not (result.steps if result.mode == "sequential" else result.heads):
            raise ResultsError(f"{path} lists no heads; run `chg ablate` again")
        layers, heads = result.shape
        for layer, head in result._ablated:
            if layer >= layers or head >= heads:
                raise ResultsError(
                    f"{path} contradicts itself: it scores {result.name(layer, head)}, in a model "
                    f"of {layers} layers x {heads}"
                )
        return result

"""Ablation results on disk: JSON, typed and versioned."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from chg.config import AblationKind, Unit
from chg.errors import ResultsError
from chg.files import atomic_path

FORMAT_VERSION = 1
Method = Literal["exact", "screening", "estimate"]
"""exact: in the model's own precision. screening: multiplied in bfloat16. estimate: gradients."""
METRIC = "mean_target_logprob"


@dataclass(frozen=True)
class HeadScore:
    """What ablating one head alone did, in nats per token."""

    layer: int
    head: int
    score: float
    stderr: float | None
    """Standard error over sequences; None for a single sequence, and for an estimate."""
    exact: bool = True
    """False where it was only screened or estimated."""


@dataclass(frozen=True)
class Step:
    """One step of sequential ablation, in nats per token."""

    step: int
    """Counted from 1."""
    layer: int
    head: int
    metric: float
    """Mean target log-probability with this and all earlier heads out."""
    score: float
    """Against the baseline."""
    delta: float
    """Against the step before."""
    stderr: float | None
    """Standard error of `score` over sequences."""


@dataclass(frozen=True)
class AblationResult:
    """All of an ablation run. `heads` for individual mode, `order` and `steps` for sequential."""

    mode: str
    model: str
    dataset: str
    baseline: float
    """Mean target log-probability with no head ablated, nats per token."""
    num_sequences: int
    num_target_tokens: int
    seconds: float
    """The evaluation alone, without loading."""
    num_layers: int | None = None
    """Rows of the gate matrix; read off the heads if a file does not say."""
    num_heads: int | None = None
    """Columns of it: the most heads of any layer."""
    unit: Unit = "head"
    """What was taken out: a query head, or a `kv_group` of them."""
    ablation: AblationKind = "zero"
    """What heads were replaced by."""
    method: Method = "exact"
    """How heads were scored that are not marked exact."""
    metric: str = METRIC
    order: str | None = None
    heads: tuple[HeadScore, ...] = ()
    steps: tuple[Step, ...] = ()
    metadata: dict[str, Any] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, int]:
        """`(layers, heads)` of the gate matrix."""
        if self.num_layers and self.num_heads:
            return self.num_layers, self.num_heads
        ablated = [(one.layer, one.head) for one in self.heads or self.steps]
        last_layer, last_head = (max(indices) for indices in zip(*ablated, strict=True))
        return last_layer + 1, last_head + 1

    def name(self, layer: int, head: int) -> str:
        """`L3H7`, or `L3G1` for a key-value group."""
        return f"L{layer}{'H' if self.unit == 'head' else 'G'}{head}"

    @property
    def scores(self) -> NDArray[np.float64]:
        """`[layer, head]`: the individual score, or the change at the head's step; NaN if none."""
        matrix = np.full(self.shape, np.nan)
        for head in self.heads:
            matrix[head.layer, head.head] = head.score
        for step in self.steps:
            matrix[step.layer, step.head] = step.delta
        return matrix

    @property
    def stderrs(self) -> NDArray[np.float64]:
        """`[layer, head]`: standard errors of individual scores; NaN where there are none."""
        matrix = np.full(self.shape, np.nan)
        for head in self.heads:
            matrix[head.layer, head.head] = np.nan if head.stderr is None else head.stderr
        return matrix

    @property
    def exact(self) -> NDArray[np.bool_]:
        """`[layer, head]`: whether the score was neither screened nor estimated."""
        matrix = np.full(self.shape, self.method == "exact")
        for head in self.heads:
            matrix[head.layer, head.head] = head.exact
        return matrix

    @property
    def ablation_note(self) -> str:
        """What heads were replaced by, where it is not zero; otherwise empty."""
        return {
            "zero": "",
            "mean": "a head is replaced by its mean output, not by zero",
            "resample": "a head is replaced by its output in another row, not by zero",
        }[self.ablation]

    @property
    def method_note(self) -> str:
        """What is to be known of scores that are not exact; empty where all are."""
        if self.method == "exact":
            return ""
        note = {
            "screening": "screened in bfloat16; rounding is as large as the weakest heads' scores",
            "estimate": "estimated from gradients, not ablated",
        }[self.method]
        confirmed = sum(head.exact for head in self.heads)
        return f"{note}; {confirmed} of {len(self.heads)} heads confirmed exactly"

    def save(self, path: str | Path) -> Path:
        """Write as JSON, atomically.

        Raises:
            OutputError: `path` cannot be written.
        """
        content = {"format_version": FORMAT_VERSION, **dataclasses.asdict(self)}
        for name in ("order", "steps") if self.mode != "sequential" else ("heads",):
            del content[name]
        with atomic_path(path) as temporary:
            text = json.dumps(content, indent=1, allow_nan=False)
            temporary.write_text(text + "\n", encoding="utf-8")
        return Path(path)

    @classmethod
    def load(cls, path: str | Path) -> AblationResult:
        """Read a results file.

        Raises:
            ResultsError: it is missing, damaged or not an ablation result.
        """
        path = Path(path)
        if not path.is_file():
            raise ResultsError(f"results file {path} does not exist; make one with `chg ablate`")
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            content.pop("format_version", None)
            content["heads"] = tuple(HeadScore(**head) for head in content.get("heads", ()))
            content["steps"] = tuple(Step(**step) for step in content.get("steps", ()))
            result = cls(**content)
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            raise ResultsError(
                f"{path} is not an ablation result as `chg ablate` writes it: {error}"
            ) from error
        if not result.heads and not result.steps:
            raise ResultsError(f"{path} lists no heads; run `chg ablate` again")
        return result

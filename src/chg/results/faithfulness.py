"""Faithfulness of rankings: how well the first heads of each do the task when the rest is ablated.

`f(k) = (m(k) - m(none)) / (m(all) - m(none))`, `m` the mean metric with the first `k` heads kept.
CPR is the integral of `f` over `k / heads`, CMD that of `|1 - f|`, as the Mechanistic
Interpretability Benchmark measures them (arXiv 2504.13151; docs/evidence.md#faithfulness).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from chg.config import AblationKind, Metric
from chg.files import plain_json, read_json, write_json
from chg.results.schema import Figure, read_record

if TYPE_CHECKING:
    import pandas as pd

FORMAT_VERSION = 1
KIND = "faithfulness as `chg study` writes it"
"""Name of the file in error messages."""
BUDGETED, FACILITATION = "budgeted fit", "facilitation"
"""Names of a study's own rankings."""
SHARES = (0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.65, 0.8, 0.9, 1.0)
"""Shares of the heads that are kept, closer together where rankings differ."""
ENOUGH = 0.9
"""Faithfulness of a set of heads that does the task."""


@dataclass(frozen=True)
class Bounded:
    """A figure with its 95 % interval over rows, and over orders where there are several."""

    value: Figure
    low: Figure
    high: Figure

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


@dataclass(frozen=True)
class Ranking:
    """Orders of heads, most important first; several where chance makes one."""

    name: str
    scores: NDArray[np.float64]
    """`[order, layer, head]`: higher is kept longer; NaN where there is no head."""
    row_passes: int | None = None
    """Cost of an order: forward passes of one row, a backward pass counted as two; None where that
    is not known."""

    def places(self, order: int) -> NDArray[np.float64]:
        """Place of every head in an order, `[layer, head]` from 0; ties in the order of heads.

        NaN where there is no head.
        """
        scores = self.scores[order]
        heads = np.argsort(np.where(np.isnan(scores), np.inf, -scores), axis=None, kind="stable")
        places = np.empty(scores.size)
        places[heads] = np.arange(scores.size)
        return np.where(np.isnan(scores), np.nan, places.reshape(scores.shape))

    def first(self, order: int, count: int) -> NDArray[np.bool_]:
        """Mark the first heads of an order, `[layer, head]`."""
        return np.asarray(self.places(order) < count)


@dataclass(frozen=True)
class FaithfulnessCurve:
    """Metric and accuracy with the first heads of a ranking alone, size after size."""

    ranking: str
    metric: NDArray[np.float64]
    """`[order, size]`: mean metric, nats per token."""
    accuracy: NDArray[np.float64]
    """`[order, size]`: share of target tokens that are right."""
    faithfulness: NDArray[np.float64]
    """`[order, size]`: `f`."""
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    """`[size]`: 95 % interval of `f`, mean over orders."""
    cpr: Bounded
    """Integral of `f`; higher is better."""
    cmd: Bounded
    """Integral of `|1 - f|`; lower is better."""
    row_passes: int | None = None
    """As `Ranking.row_passes`."""

    def __repr__(self) -> str:
        return f"<FaithfulnessCurve of {self.ranking}: CMD {self.cmd}, CPR {self.cpr}>"

    @property
    def mean(self) -> NDArray[np.float64]:
        """`[size]`: `f`, mean over orders."""
        return np.asarray(self.faithfulness.mean(axis=0))


@dataclass(frozen=True, repr=False)
class Faithfulness:
    """Curves of several rankings on the same rows; the content of `faithfulness.json`."""

    sizes: NDArray[np.int64]
    """`[size]`: heads kept, from none to all."""
    rows: int
    ablation: AblationKind
    """Replacement of the heads that are not kept."""
    metric: Metric
    gap: Bounded
    """`m(all) - m(none)`, nats per token: what all heads are worth together."""
    curves: tuple[FaithfulnessCurve, ...]
    """Best first."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} over {self.rows} rows: {self.sentence}>"

    @property
    def heads(self) -> int:
        """Heads of the model."""
        return int(self.sizes[-1])

    @property
    def defined(self) -> bool:
        """True where all heads together are surely worth something; `f` says nothing otherwise."""
        return self.gap.low > 0

    def size_reaching(self, curve: FaithfulnessCurve, share: float = ENOUGH) -> int | None:
        """Find the smallest size measured from which on `f` stays at a share or above.

        None where `f` is not defined.
        """
        if not self.defined:
            return None
        below = np.flatnonzero(curve.mean < share)
        return int(self.sizes[below[-1] + 1 if len(below) else 0])

    @property
    def sentence(self) -> str:
        """Say how few heads do the task, or why that cannot be said."""
        if not self.defined:
            return (
                "Keeping or ablating all heads makes no sure difference on these rows, so that "
                "faithfulness is not defined."
            )
        best = self.curves[0]
        size = self.size_reaching(best)
        assert size is not None
        at = int(np.flatnonzero(self.sizes == size)[0])
        return (
            f"Ranked by {best.ranking}, the first {size} of {self.heads} heads reach "
            f"{best.mean[at]:.0%} of what all do (95 % interval {best.low[at]:.0%} to "
            f"{best.high[at]:.0%}) with the rest ablated, and "
            f"{best.accuracy[:, at].mean():.0%} of the target tokens are right; CMD {best.cmd}."
        )

    @property
    def table(self) -> pd.DataFrame:
        """One row per ranking: CMD and CPR with their intervals, the size reached, and the cost."""
        import pandas as pd

        return pd.DataFrame(
            [
                {
                    "ranking": curve.ranking,
                    **_columns("cmd", curve.cmd),
                    **_columns("cpr", curve.cpr),
                    "heads_for_90": self.size_reaching(curve),
                    "row_passes": curve.row_passes,
                }
                for curve in self.curves
            ]
        )

    def save(self, path: str | Path) -> Path:
        """Write it as JSON, atomically; returns the path.

        Raises:
            OutputError: `path` cannot be written.
        """
        write_json(path, plain_json({"format_version": FORMAT_VERSION, **asdict(self)}))
        return Path(path)

    @classmethod
    def load(cls, path: str | Path) -> Faithfulness:
        """Read what `save` wrote.

        Raises:
            ResultsError: the file is missing or damaged.
        """
        content = read_json(Path(path), KIND)
        content.pop("format_version", None)
        return read_record(cls, content, Path(path), KIND)


def sizes_of(heads: int) -> NDArray[np.int64]:
    """Choose how many of so many heads are kept, from none to all."""
    return np.unique(np.round(np.multiply(SHARES, heads)).astype(np.int64))


def _columns(name: str, figure: Bounded) -> dict[str, float]:
    return {name: figure.value, f"{name}_low": figure.low, f"{name}_high": figure.high}

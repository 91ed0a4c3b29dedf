"""Evaluation that can be resumed: scores of held-out rows, kept on disk piece by piece."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from chg.config import Metric
from chg.data import TokenData
from chg.engine import Engine, EvaluationOptions, SequenceScores, evaluate_open, open_engine
from chg.errors import ModelError
from chg.gating import Reference
from chg.progress import progress_bar
from chg.studies.folder import StudyFolder

ROWS_OF_A_PIECE = 32
"""Rows that a killed run does again at most; neighbours in alphabetic order go together, because
they begin alike."""


@dataclass(frozen=True)
class ResumableEvaluation:
    """Rows to measure on; `score` is an `Evaluate` of the causal check."""

    model: nn.Module
    data: TokenData
    reference: Reference | None
    batch_size: int
    folder: StudyFolder | None
    """Folder to keep scores in; None for nowhere."""
    show_progress: bool = True
    metric: Metric = "logprob"

    def some(self, rows: int) -> ResumableEvaluation:
        """Make an evaluation on so many of its rows, drawn."""
        return replace(self, data=self.data.sample(rows, 0))

    def open(self) -> AbstractContextManager[Engine]:
        """Open the model for the metric and the kind of ablation."""
        return open_engine(self.model, reference=self.reference, metric=self.metric)

    def score(
        self, name: str, gate_matrices: Sequence[Float[Tensor, "layer head"]]
    ) -> list[SequenceScores]:
        """Score all rows under each gate matrix, or the rows that are not scored yet.

        Raises:
            ModelError: a score is NaN.
        """
        order = sorted(range(len(self.data)), key=lambda i: self.data.rows[i].ids)
        pieces = [order[i : i + ROWS_OF_A_PIECE] for i in range(0, len(order), ROWS_OF_A_PIECE)]
        done, gates = self._kept(name, gate_matrices)
        share = len(gate_matrices) / len(order)
        with (
            self.open() as engine,
            progress_bar(
                len(gate_matrices),
                _description(name),
                show=self.show_progress,
                unit="matrix",
                initial=share * sum(scores.shape[2] for scores in done),
            ) as bar,
        ):
            for piece in pieces[len(done) :]:
                advance = partial(_advance, bar, share * len(piece))
                options = EvaluationOptions(batch_size=self.batch_size, on_progress=advance)
                rows = self.data.select(piece)
                scores = evaluate_open(engine, rows, gate_matrices, options)
                done.append(torch.from_numpy(np.stack([_stacked(one) for one in scores], axis=1)))
                if self.folder is not None:
                    self.folder.keep(name, {"scores": torch.cat(done, dim=2)}, gates=gates)
        place = np.argsort(order)
        arrays = torch.cat(done, dim=2).numpy()[:, :, place]
        if not np.isfinite(arrays).all():
            raise ModelError(
                "the model's log-probabilities are NaN or infinite; try --dtype float32, or check "
                "the model"
            )
        return [SequenceScores(*parts) for parts in zip(*arrays, strict=True)]

    def _kept(self, name: str, gate_matrices: Sequence[Tensor]) -> tuple[list[Tensor], str]:
        """Read the pieces that are scored, and name the gates that they must have been under."""
        together = torch.stack(list(gate_matrices)).contiguous()
        gates = sha256(together.numpy().tobytes()).hexdigest()
        kept = None if self.folder is None else self.folder.kept(name)
        if kept is None or kept[1].get("gates") != gates:  # of fits before the study went on
            return [], gates
        return list(kept[0]["scores"].split(ROWS_OF_A_PIECE, dim=2)), gates


def _advance(bar: Any, matrices: float, part: float) -> None:
    bar.update(part * matrices)


def _stacked(scores: SequenceScores) -> np.ndarray:
    further = [] if scores.metric_sums is None else [scores.metric_sums]
    return np.stack([scores.logprob_sums, scores.correct, scores.counts, *further])


def _description(name: str) -> str:
    return {"stages": "measuring all fits", "ablation": "ablating heads"}.get(
        name, name.replace("_", " ")
    )

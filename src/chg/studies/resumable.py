"""Held-out rows scored under lists of gate matrices, kept on disk piece by piece."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from chg.data import TokenData
from chg.engine import SequenceScores, evaluate_gates
from chg.errors import ModelError
from chg.gating import Reference
from chg.progress import progress_bar
from chg.studies.folder import StudyFolder

logger = logging.getLogger(__name__)


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
    """Where to keep what has been scored; None for nowhere."""
    show_progress: bool = True

    def score(
        self, name: str, gate_matrices: Sequence[Float[Tensor, "layer head"]]
    ) -> list[SequenceScores]:
        """Scores of all rows under each gate matrix, or what is left of them to be computed.

        Raises:
            ModelError: one is NaN.
        """
        order = sorted(range(len(self.data)), key=lambda i: self.data.rows[i].ids)
        pieces = [order[i : i + ROWS_OF_A_PIECE] for i in range(0, len(order), ROWS_OF_A_PIECE)]
        kept = None if self.folder is None else self.folder.kept(name)
        done = [] if kept is None else list(kept[0]["scores"].split(ROWS_OF_A_PIECE, dim=2))
        share = len(gate_matrices) / len(order)
        with progress_bar(
            len(gate_matrices), _described(name), show=self.show_progress, unit="matrix"
        ) as bar:
            if bar.disable:
                logger.info("%s, %d gate matrices", _described(name), len(gate_matrices))
            bar.update(share * sum(one.shape[2] for one in done))
            for piece in pieces[len(done) :]:
                matrices = share * len(piece)
                scores = evaluate_gates(
                    self.model,
                    self.data.select(piece),
                    gate_matrices,
                    batch_size=self.batch_size,
                    reference=self.reference,
                    on_progress=partial(_advance, bar, matrices),
                )
                done.append(torch.from_numpy(np.stack([_stacked(one) for one in scores], axis=1)))
                if self.folder is not None:
                    self.folder.keep(name, {"scores": torch.cat(done, dim=2)})
        place = np.argsort(order)
        sums, correct, counts = torch.cat(done, dim=2).numpy()[:, :, place]
        if not np.isfinite(sums).all():
            raise ModelError(
                "the model's log-probabilities are NaN or infinite; try --dtype float32, or check "
                "the model"
            )
        return [SequenceScores(*one) for one in zip(sums, correct, counts, strict=True)]


def _advance(bar: Any, matrices: float, part: float) -> None:
    bar.update(part * matrices)


def _stacked(scores: SequenceScores) -> np.ndarray:
    return np.stack([scores.logprob_sums, scores.correct, scores.counts])


def _described(name: str) -> str:
    return {"stages": "measuring all fits", "ablation": "ablating heads"}.get(
        name, name.replace("_", " ")
    )

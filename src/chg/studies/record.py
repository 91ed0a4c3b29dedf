"""Record of fits under way: progress bar, metrics, held-out NLL, checkpoints."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from chg.data import TokenData
from chg.engine import Engine, EvaluationOptions, evaluate_open
from chg.fitting import Update, updates_between_looks
from chg.gating import count_gates
from chg.progress import progress_bar
from chg.results import Stage
from chg.studies.folder import StudyFolder, flush

WATCHED_ROWS = 16
"""Held-out rows whose NLL is followed during a fit."""
WATCHED_EVERY = 50
"""Updates between looks at it, and one after the last update."""


@dataclass(frozen=True)
class StageFit:
    """One gate matrix: its stage, its seed, and the regularizer's strength with its sign."""

    stage: Stage
    seed: int
    lambda_reg: float


@dataclass(frozen=True)
class WatchedFits:
    """Fits under way, and what their record needs to know of them."""

    plan: tuple[StageFit, ...]
    engine: Engine
    rows: TokenData
    """Held-out rows whose NLL is followed."""
    main: float
    """Strength of the fits for which it is."""
    total: int
    description: str
    show_progress: bool


class FitRecord:
    """Record of fits side by side. Called with every update."""

    def __init__(
        self,
        fits: WatchedFits,
        folder: StudyFolder,
        checkpoint: Callable[[int], None],
        done: int,
    ) -> None:
        """Open the metrics.

        Args:
            fits: the fits.
            folder: folder of the study.
            checkpoint: called with the number of every update, when its metrics can be written.
            done: updates done before.
        """
        self._fits = fits
        self._checkpoint = checkpoint
        self._file = folder.metrics.open("a", encoding="utf-8")
        self._bar = progress_bar(
            fits.total, fits.description, show=fits.show_progress, initial=done
        )
        self._waiting: list[tuple[Update, list[float | None]]] = []

    def __enter__(self) -> FitRecord:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._bar.close()

    def __call__(self, update: Update) -> None:
        held_out: list[float | None] = [None] * len(self._fits.plan)
        if update.step % WATCHED_EVERY == 0 or update.step == self._fits.total:
            held_out = self._held_out(update)
        self._waiting.append((update, held_out))
        # Reading losses waits for an accelerator.
        if update.step % updates_between_looks(update.logits.device) == 0:
            self._write()
        self._bar.update()
        self._checkpoint(update.step)

    def flush(self) -> None:
        """Bring all lines to the disk."""
        self._write()
        flush(self._file)

    def _held_out(self, update: Update) -> list[float | None]:
        """Measure the NLL of some held-out rows under every fit of the main strength that runs."""
        fits, found = self._fits, [None] * len(self._fits.plan)
        settled = update.losses.isnan().tolist()
        chosen = [
            i
            for i, fit in enumerate(fits.plan)
            if abs(fit.lambda_reg) in (0.0, fits.main) and not settled[i]
        ]
        # One at a time on a CPU: a score must not depend on how many others share its passes.
        together = 1 if update.logits.device.type == "cpu" else max(1, len(chosen))
        nlls: list[float | None] = list(found)
        for start in range(0, len(chosen), together):
            places = chosen[start : start + together]
            gates = torch.stack([torch.sigmoid(update.logits[i]) for i in places]).cpu()
            scores = evaluate_open(fits.engine, fits.rows, gates, EvaluationOptions())
            for i, score in zip(places, scores, strict=True):
                nlls[i] = score.nll
        return nlls

    def _write(self) -> None:
        """Write a line per fit for every update since the last time."""
        for update, held_out in self._waiting:
            losses = update.losses.tolist()
            for i, fit in enumerate(self._fits.plan):
                if math.isnan(losses[i]):
                    continue  # settled
                line = _line(fit, update, losses[i], torch.sigmoid(update.logits[i]))
                if held_out[i] is not None:
                    line["held_out_nll"] = held_out[i]
                self._file.write(json.dumps(line) + "\n")
        if self._waiting:
            running = [x for x in self._waiting[-1][0].losses.tolist() if not math.isnan(x)]
            mean = sum(running) / max(1, len(running))
            self._bar.set_status(f"loss {mean:.3f}, {len(running)} moving")
        self._waiting.clear()


def _line(fit: StageFit, update: Update, loss: float, gates: Tensor) -> dict[str, Any]:
    return {
        "stage": fit.stage,
        "lambda_reg": fit.lambda_reg,
        "seed": fit.seed,
        "step": update.step,
        "loss": loss,
        **count_gates(gates)._asdict(),
        "lr": update.lr,
    }


class Stopwatch:
    """Seconds of work over all runs of it."""

    def __init__(self, before: float) -> None:
        self._began = time.perf_counter() - before

    @property
    def seconds(self) -> float:
        """Seconds so far."""
        return time.perf_counter() - self._began

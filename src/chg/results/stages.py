"""Stages of a study, their words for people, and the logits of every seed in each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors.torch import save_file
from torch import Tensor

from chg.config import Stage
from chg.errors import ResultsError
from chg.files import atomic_path, read_tensors

STAGES: tuple[Stage, ...] = ("initial", "retention", "removal")
"""G0, and G+ and G- fitted from it."""
EARLIER = "earlier_"
"""Beginning of the names of earlier logits in a file."""

PATH = "path_"
"""Beginning of the names of logits at every strength; both stages or neither are in a file."""


@dataclass(frozen=True)
class StageName:
    """Name of a stage in each place that shows it."""

    short: str
    """In a list."""
    row: str
    """In a table."""
    title: str
    """Over a picture."""
    phrase: str
    """After "gates", in a sentence."""


STAGE_NAMES: dict[Stage, StageName] = {
    "initial": StageName("G0", "fitted (G0)", "G0, free", "fitted freely"),
    "retention": StageName("G+", "retention (G+)", "G+, retention", "pushed open"),
    "removal": StageName("G-", "removal (G\u2212)", "G-, removal", "pushed closed"),
}


@dataclass(frozen=True)
class LogitsOfStudy:
    """Logits of every seed and stage, NaN where there is no head."""

    main: Mapping[Stage, Float[Tensor, "seed layer head"]]
    """Logits at the study's strength of regularisation."""
    path: Mapping[Stage, Float[Tensor, "lambda seed layer head"]]
    """Logits of retention and removal at every strength; empty where the study has one strength."""
    earlier: Mapping[Stage, Float[Tensor, "seed layer head"]] = field(default_factory=dict)
    """Logits as `main` a fifth of each fit's updates before its end; empty where a study of an
    older version did not keep them."""

    def save(self, file: Path) -> None:
        """Write `gates.safetensors`, atomically.

        Raises:
            OutputError: the file cannot be written.
        """
        tensors = {str(stage): logits.contiguous() for stage, logits in self.main.items()}
        tensors |= {PATH + stage: logits.contiguous() for stage, logits in self.path.items()}
        tensors |= {f"{EARLIER}{stage}": one.contiguous() for stage, one in self.earlier.items()}
        with atomic_path(file) as temporary:
            save_file(tensors, temporary)

    @classmethod
    def load(cls, file: Path) -> LogitsOfStudy:
        """Read `gates.safetensors`.

        Raises:
            ResultsError: the file is missing, damaged or of another kind.
        """
        tensors, _ = read_tensors(file)
        path = {stage: PATH + stage for stage in STAGES[1:]}
        needed = [*STAGES, *(path.values() if any(x in tensors for x in path.values()) else ())]
        missing = [name for name in needed if name not in tensors]
        if missing:
            raise ResultsError(f"{file} holds no gates of a study: {missing[0]} is missing")
        for name in sorted(tensors, key=lambda name: name != "initial"):  # others are compared
            _require_logits(file, name, tensors)
        return cls(
            {stage: tensors[stage] for stage in STAGES},
            {stage: tensors[name] for stage, name in path.items() if name in needed},
            {stage: tensors[EARLIER + stage] for stage in STAGES if EARLIER + stage in tensors},
        )


def _require_logits(file: Path, name: str, tensors: Mapping[str, Tensor]) -> None:
    """See that a tensor has the shape of `initial`, and the heads of that."""
    first, logits = tensors["initial"], tensors[name]
    dimensions = 4 if name.startswith(PATH) else 3
    if logits.dtype != torch.float32 or logits.dim() != dimensions or not logits.numel():
        raise ResultsError(
            f"{file} is damaged: {name} is {tuple(logits.shape)} of {logits.dtype}, not "
            f"{dimensions} dimensions of torch.float32"
        )
    if logits.shape[-3:] != first.shape:
        raise ResultsError(
            f"{file} contradicts itself: {name} is {tuple(logits.shape)}, initial "
            f"{tuple(first.shape)}"
        )
    exists = ~first[0].isnan()
    if not exists.any() or (logits.isnan() == exists).any() or logits.isinf().any():
        raise ResultsError(f"{file} is damaged: {name} holds logits that are NaN or infinite")

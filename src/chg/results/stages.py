"""Stages of a study, and the logits of every seed in each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from jaxtyping import Float
from safetensors.torch import save_file
from torch import Tensor

from chg.errors import ResultsError
from chg.files import atomic_path, read_tensors

Stage = Literal["initial", "retention", "removal"]

STAGES: tuple[Stage, ...] = ("initial", "retention", "removal")
"""G0, and G+ and G- from it."""


@dataclass(frozen=True)
class LogitsOfStudy:
    """Logits of every seed and stage, NaN where there is no head."""

    main: Mapping[Stage, Float[Tensor, "seed layer head"]]
    """At the study's strength of regularisation."""
    path: Mapping[Stage, Float[Tensor, "lambda seed layer head"]]
    """Retention and removal at every strength; empty where there is one alone."""

    def save(self, file: Path) -> None:
        """Write `gates.safetensors`."""
        tensors = {str(stage): logits.contiguous() for stage, logits in self.main.items()}
        tensors |= {f"path_{stage}": logits.contiguous() for stage, logits in self.path.items()}
        with atomic_path(file) as temporary:
            save_file(tensors, temporary)

    @classmethod
    def load(cls, file: Path) -> LogitsOfStudy:
        """Read it back.

        Raises:
            ResultsError: it is missing, damaged or of another kind.
        """
        tensors, _ = read_tensors(file)
        try:
            main = {stage: tensors[stage] for stage in STAGES}
        except KeyError as error:
            raise ResultsError(f"{file} holds no gates of a study: {error} is missing") from error
        path = {stage: tensors[f"path_{stage}"] for stage in STAGES if f"path_{stage}" in tensors}
        return cls(main, path)

"""Stages of a study, their words for people, and the logits of every seed in each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from jaxtyping import Float
from safetensors.torch import save_file
from torch import Tensor

from chg.errors import ResultsError
from chg.files import atomic_path, read_tensors

Stage = Literal["initial", "retention", "removal"]

STAGES: tuple[Stage, ...] = ("initial", "retention", "removal")
"""G0, and G+ and G- fitted from it."""
EARLIER = "earlier_"
"""Beginning of the names of earlier logits in a file."""


@dataclass(frozen=True)
class StageName:
    """Name of a stage in each place that shows it."""

    row: str
    """In a table."""
    title: str
    """Over a picture."""
    phrase: str
    """After "gates", in a sentence."""


STAGE_NAMES: dict[Stage, StageName] = {
    "initial": StageName("fitted (G0)", "G0, free", "fitted freely"),
    "retention": StageName("retention (G+)", "G+, retention", "pushed open"),
    "removal": StageName("removal (G\u2212)", "G-, removal", "pushed closed"),
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
        tensors |= {f"path_{stage}": logits.contiguous() for stage, logits in self.path.items()}
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
        try:
            main = {stage: tensors[stage] for stage in STAGES}
        except KeyError as error:
            raise ResultsError(f"{file} holds no gates of a study: {error} is missing") from error
        path = {stage: tensors[f"path_{stage}"] for stage in STAGES if f"path_{stage}" in tensors}
        earlier = {
            stage: tensors[EARLIER + stage] for stage in STAGES if EARLIER + stage in tensors
        }
        return cls(main, path, earlier)

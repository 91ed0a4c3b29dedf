"""Gate matrices, and the files that they are kept in.

A gate matrix holds one value in [0, 1] per query head, and with a column more one per MLP block,
stored as logits: `gates = sigmoid(logits)` (paper, section 3). Fitting keeps them inside
[-LOGIT_BOUND, LOGIT_BOUND]. Where a layer has fewer heads than others, or none, the entries that
are no heads are NaN.
"""

from __future__ import annotations

import io
import json
import os
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from safetensors import safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from chg.config import CLOSED_BELOW, OPEN_ABOVE, VERDICT_THRESHOLD, Stage
from chg.errors import GateError, GateFileError, reason
from chg.files import atomic_path
from chg.results import STAGES, StudyResults

FORMAT_VERSION = 1
LOGIT_BOUND = 4.0
"""Fitted logits stay within +-4, so fitted gates within [0.018, 0.982] (paper, appendix 6.2)."""


class GateCounts(NamedTuple):
    """Counts of gates above `OPEN_ABOVE`, below `CLOSED_BELOW`, and between."""

    open: int
    closed: int
    middle: int

    def __str__(self) -> str:
        return (
            f"{self.open} open (> {OPEN_ABOVE}), {self.closed} closed (< {CLOSED_BELOW}), "
            f"{self.middle} between"
        )


def count_gates(gates: Float[Tensor, "*fit layer head"]) -> GateCounts:
    """Count open, closed and middle gates of the heads that exist."""
    is_open = int((gates > OPEN_ABOVE).sum())
    is_closed = int((gates < CLOSED_BELOW).sum())
    total = int((~gates.isnan()).sum())
    return GateCounts(is_open, is_closed, total - is_open - is_closed)


def cut_gates(gates: Float[Tensor, "*batch layer head"]) -> Float[Tensor, "*batch layer head"]:
    """Cut gates at `VERDICT_THRESHOLD`, 1 from there on; NaN stays."""
    return (gates >= VERDICT_THRESHOLD).float().masked_fill(gates.isnan(), torch.nan)


@dataclass(frozen=True)
class HeadGates:
    """One gate matrix as logits, with where it came from."""

    logits: Float[Tensor, "layer head"]
    metadata: dict[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"<HeadGates, {self.num_layers} layers x {self.num_heads}: {self.counts}>"

    @property
    def values(self) -> Float[Tensor, "layer head"]:
        """Gates, in [0, 1]."""
        return torch.sigmoid(self.logits)

    @property
    def num_layers(self) -> int:
        """Layers, `L`."""
        return int(self.logits.shape[0])

    @property
    def num_heads(self) -> int:
        """Columns of the matrix: query heads per layer, `H`, and one more where MLPs have gates."""
        return int(self.logits.shape[1])

    @property
    def exists(self) -> Bool[Tensor, "layer head"]:
        """Entries that are heads (MLPs): all of them, unless layers differ in what they have."""
        return ~self.logits.isnan()

    @property
    def thresholded(self) -> Float[Tensor, "layer head"]:
        """Gates cut at `VERDICT_THRESHOLD`, 1 from there on (docs/method.md#verdicts)."""
        return cut_gates(self.values)

    def cut(self) -> HeadGates:
        """The same gates cut into 0 and 1, `thresholded`."""
        return HeadGates(torch.logit(self.thresholded), {**self.metadata, "thresholded": True})

    @property
    def counts(self) -> GateCounts:
        """Open, closed and middle gates."""
        return count_gates(self.values)

    def save(self, path: str | Path) -> Path:
        """Write a gate file; `.safetensors` by that ending, otherwise the `.pt` form.

        Both hold `logits`, `num_layers`, `num_heads` and `metadata` (JSON text), and `exists` where
        not every entry is a head. The write is atomic.

        Raises:
            OutputError: `path` cannot be written.
        """
        path = Path(path)
        tensors = {"logits": self.logits.detach().to("cpu", torch.float32).contiguous()}
        if not self.exists.all():
            tensors["exists"] = self.exists.cpu()
        sizes = {"num_layers": self.num_layers, "num_heads": self.num_heads}
        metadata = json.dumps({"format_version": FORMAT_VERSION, **self.metadata})
        if path.suffix == ".safetensors":
            header = {name: str(size) for name, size in sizes.items()}
            content = to_bytes(tensors, metadata={**header, "metadata": metadata})
        else:
            # Into memory first: torch tells of a full disk by an error of its own insides.
            buffer = io.BytesIO()
            torch.save({**tensors, **sizes, "metadata": metadata}, buffer)
            content = buffer.getvalue()
        with atomic_path(path) as temporary:
            temporary.write_bytes(content)
        return path

    @classmethod
    def load(cls, path: str | Path) -> HeadGates:
        """Read a gate file. Nothing in it is ever executed.

        Raises:
            GateFileError: it is missing, damaged, unsafe or not a gate file.
        """
        path = Path(path)
        if not os.path.isfile(path):  # of a name too long as well, where Path raises
            raise GateFileError(f"gate file {path} does not exist; make one with `chg fit`")
        content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pt(path)
        return cls(*_checked(content, path))

    @classmethod
    def from_study(
        cls,
        study: StudyResults,
        *,
        stage: Stage = "removal",
        seed: int | None = None,
        thresholded: bool = True,
    ) -> HeadGates:
        """Take one gate matrix of a study.

        Args:
            study: a finished study.
            stage: `initial` (G0), `retention` (G+) or `removal` (G-).
            seed: the seed of the fit; the study's first if not given.
            thresholded: cut the gates at 0.5 into 0 and 1; False takes them as they were fitted.

        Raises:
            GateError: the study has no such stage or seed.
        """
        if stage not in STAGES:
            raise GateError(f"a study's stages are {', '.join(STAGES)}; got {stage!r}")
        seed = study.seeds[0] if seed is None else seed
        if seed not in study.seeds:
            raise GateError(
                f"the study has no seed {seed}, only {', '.join(map(str, study.seeds))}"
            )
        configuration = study.manifest.get("configuration", {})
        metadata = {
            **study.manifest.get("model", {}),
            "dataset": study.manifest.get("data", {}).get("name"),
            "ablation": configuration.get("ablation", "zero"),
            "unit": study.unit,
            "study": study.manifest.get("title"),
            "stage": stage,
            "seed": seed,
        }
        gates = cls(torch.tensor(study.logits[stage][study.seeds.index(seed)]), metadata)
        return gates.cut() if thresholded else gates


def _read_pt(path: Path) -> Mapping[str, Any]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise GateFileError(
            f"gate file {path} was refused: it is damaged, or holds objects other than plain "
            "tensors and numbers, which could run code when loaded"
        ) from error
    except Exception as error:  # damaged bytes end anywhere in the unpickler
        raise GateFileError(
            f"gate file {path} is damaged or truncated; fit it again with `chg fit`"
        ) from error
    if not isinstance(content, Mapping):
        raise GateFileError(f"{path} is not a gate file: it holds a {type(content).__name__}")
    return content


def _read_safetensors(path: Path) -> Mapping[str, Any]:
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            content: dict[str, Any] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        content.update({k: int(v) for k, v in header.items() if k.startswith("num_")})
    except Exception as error:  # dtypes that torch lacks, and what else a header can say
        raise GateFileError(f"gate file {path} is damaged or truncated: {reason(error)}") from error
    return {**content, "metadata": header.get("metadata", "{}")}


def _checked(content: Mapping[str, Any], path: Path) -> tuple[Tensor, dict[str, Any]]:
    missing = {"logits", "num_layers", "num_heads"} - content.keys()
    if missing:
        raise GateFileError(f"{path} is not a gate file: it has no {', '.join(sorted(missing))}")
    logits = content["logits"]
    if not _is_matrix(logits) or not logits.is_floating_point():
        raise GateFileError(f"{path} is not a gate file: its logits are not a [layer, head] matrix")
    said = (content["num_layers"], content["num_heads"])
    if not all(type(size) is int for size in said) or tuple(logits.shape) != said:
        raise GateFileError(
            f"{path} contradicts itself: logits {tuple(logits.shape)}, sizes {said}"
        )
    exists = content.get("exists", torch.ones_like(logits, dtype=torch.bool))
    if not _is_matrix(exists) or exists.dtype != torch.bool or exists.shape != logits.shape:
        raise GateFileError(f"{path} is damaged: `exists` does not say which of its heads exist")
    if logits[exists].isnan().any():
        raise GateFileError(f"{path} holds logits that are NaN; fit it again")
    return logits.to(torch.float32).masked_fill(~exists, torch.nan), _metadata(content, path)


def _is_matrix(value: object) -> bool:
    """True of a plain matrix with a number in memory for each of its entries."""
    if not isinstance(value, Tensor) or value.layout != torch.strided or value.dim() != 2:
        return False
    in_memory = value.device.type == "cpu" and not value.is_quantized
    return in_memory and value.numel() * value.element_size() <= value.untyped_storage().nbytes()


def _metadata(content: Mapping[str, Any], path: Path) -> dict[str, Any]:
    text = content.get("metadata", "{}")
    try:
        metadata = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError) as error:
        raise GateFileError(f"{path} has metadata that is not JSON text") from error
    if not isinstance(metadata, dict):
        raise GateFileError(f"{path} has metadata that is not a JSON object")
    return metadata

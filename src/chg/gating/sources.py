"""Gates from whatever holds them: this is the one place that knows all of the forms.

1. A study, or its folder, holds many matrices: a stage, a seed, and soft or cut gates are chosen.
2. A gate file and `HeadGates` hold one, with the model that it was fitted on. On another model a
   warning says so, once: to read another model's gates can be the point.
3. A tensor, an array, nested lists and names of heads are plain values.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from chg.config import MLP, Stage, Unit, head_label
from chg.errors import GateError
from chg.files import MANIFEST
from chg.gating.gates import HeadGates, cut_gates
from chg.models import (
    AnyModel,
    architecture_name,
    describe_model,
    find_head_sites,
    model_name,
    unwrap_model,
    weights_difference,
)
from chg.results import GATES, StudyResults

logger = logging.getLogger(__name__)

AnyGates: TypeAlias = (
    HeadGates
    | Float[Tensor, "*batch layer head"]
    | StudyResults
    | Mapping[Any, Any]
    | NDArray[Any]
    | Sequence[Any]
    | str
    | Path
)
"""All that gates can be given as; `resolve_gates` reads it.

`HeadGates`; a tensor, array or nested list of gates, `[layer, head]`; a dict of the gates that are
not 1, `{"L0H5": 0}`, `{(0, 5): 0}` or `{"L0MLP": 0}`; a `Study`; the path of a gate file or of a
study's folder."""

TAKEN = (
    "gates are a HeadGates, a Study, the path of a gate file or of a study's folder, a tensor, "
    'array or list of numbers [layer, head], or a dict such as {"L0H5": 0}'
)
UNITS: dict[str, Unit] = {"H": "head", "G": "kv_group", MLP: "head_and_mlp"}

_warned: WeakKeyDictionary[nn.Module, set[str]] = WeakKeyDictionary()
"""Models with what was said about gates on them."""


@dataclass(frozen=True)
class StudyChoice:
    """Choice among the gates of a study; None takes the default of the job."""

    stage: Stage | None = None
    seed: int | None = None
    thresholded: bool | None = None
    """Cut at 0.5 into 0 and 1."""


FOR_USE = StudyChoice("removal", thresholded=True)
"""Gates of a study that heads are closed by: those of removal (G-), cut."""
FOR_FITTING = StudyChoice("initial", thresholded=False)
"""Gates of a study that a fit starts from: those fitted freely (G0), as they are."""


def resolve_gates(
    model: AnyModel,
    gates: AnyGates,
    choice: StudyChoice = StudyChoice(),
    default: StudyChoice = FOR_USE,
) -> HeadGates | Float[Tensor, "*batch layer head"]:
    """Read gates in any form; log a warning where they were fitted on another model.

    Args:
        model: the model that they are for.
        gates: the gates.
        choice: what to take of a study.
        default: what to take of it where `choice` does not say.

    Returns:
        `HeadGates`, or plain values as a tensor; one that was given stays the same, for gradients.

    Raises:
        GateError: they have no form that is read, the model has no such head, or a study no such
            seed; or a stage or seed is chosen of something that is no study.
        GateFileError, ResultsError: the file or study is missing or damaged.
    """
    study = study_of(gates)
    found: HeadGates | Tensor
    if study is not None:
        cut = default.thresholded if choice.thresholded is None else choice.thresholded
        stage = choice.stage or default.stage or "removal"
        found = HeadGates.from_study(study, stage=stage, seed=choice.seed, thresholded=bool(cut))
    else:
        if choice.stage is not None or choice.seed is not None:
            raise GateError(
                f"a stage or a seed is chosen of a study; a {type(gates).__name__} holds one matrix"
            )
        found = _single(model, gates)
        if choice.thresholded:
            found = found.cut() if isinstance(found, HeadGates) else cut_gates(found)
    if isinstance(found, HeadGates):
        _warn_of_another_model(unwrap_model(model), found.metadata)
    return found


def gate_values(
    gates: HeadGates | Float[Tensor, "*batch layer head"],
) -> Float[Tensor, "*batch layer head"]:
    """Take the values of resolved gates."""
    return gates.values if isinstance(gates, HeadGates) else gates


def describe_gates(
    gates: HeadGates | Float[Tensor, "layer head"] | None, unit: Unit = "head"
) -> dict[str, Any] | None:
    """Describe resolved gates, for metadata: where they came from, or those that are not 1."""
    if gates is None:
        return None
    if isinstance(gates, HeadGates):
        return gates.metadata
    places = ((gates != 1) & ~gates.isnan()).nonzero().tolist()
    columns = gates.shape[-1]
    return {"not_open": {head_label(i, j, unit, columns): float(gates[i, j]) for i, j in places}}


def study_of(gates: Any) -> StudyResults | None:
    """Take the study that gates are given as, or read it; None where they are given otherwise.

    Raises:
        ResultsError: the folder holds no finished study.
    """
    if isinstance(gates, StudyResults):
        return gates
    if not isinstance(gates, str | Path):
        return None
    path = Path(gates)
    if path.name == GATES and (path.parent / MANIFEST).is_file():
        path = path.parent
    return StudyResults.load(path) if path.is_dir() else None


def _single(model: AnyModel, gates: Any) -> HeadGates | Tensor:
    """Read gates that are one matrix (or one per row of a batch)."""
    if isinstance(gates, HeadGates | Tensor):
        return gates
    if isinstance(gates, str | Path):
        return HeadGates.load(gates)
    if isinstance(gates, Mapping):
        return _named(model, gates)
    if not isinstance(gates, np.ndarray | list | tuple):
        raise GateError(f"{TAKEN}; got {type(gates).__name__}")
    try:
        values: NDArray[np.float32] = np.asarray(gates, dtype=np.float32)
    except (TypeError, ValueError, RuntimeError) as error:
        raise GateError(f"{TAKEN}; this {type(gates).__name__} is no such table: {error}") from None
    return torch.tensor(values)


def _named(model: AnyModel, gates: Mapping[Any, Any]) -> Float[Tensor, "layer unit"]:
    """Open every gate but those that are named."""
    places = [_place(name) for name in gates]
    named: set[Unit] = {unit for unit, *_ in places} or {"head"}
    mixed = "kv_group" in named and len(named) > 1
    if mixed or len(set(places)) < len(places):
        raise GateError(
            "a dict of gates names every head once, or every key-value group; got "
            f"{', '.join(map(repr, gates))}"
        )
    unit: Unit = "head_and_mlp" if "head_and_mlp" in named else named.pop()
    exists = find_head_sites(model).existing(unit)
    layers, columns = exists.shape
    matrix = torch.ones(layers, columns)
    for (kind, layer, head), value in zip(places, gates.values(), strict=True):
        of_kind = columns if kind == unit else columns - 1
        column = columns - 1 if kind == "head_and_mlp" else head
        label = head_label(layer, column, kind, columns)
        if layer >= layers or column >= of_kind or not exists[layer, column]:
            last = head_label(layers - 1, of_kind - 1, kind, columns)
            raise GateError(f"the model has no {label}; the last is {last}")
        try:
            matrix[layer, column] = value
        except (TypeError, ValueError, RuntimeError):
            raise GateError(f"the gate of {label} must be a number, got {value!r}") from None
    return matrix


def _place(name: Any) -> tuple[Unit, int, int]:
    """Read `L0H5`, `L0G1`, `L0MLP` or `(0, 5)`: the unit, the layer and the number in it."""
    named = re.fullmatch(r"L(\d+)(?:([HG])(\d+)|MLP)", name) if isinstance(name, str) else None
    if named is not None:
        return UNITS[named[2] or MLP], int(named[1]), int(named[3] or 0)
    pair = isinstance(name, tuple) and len(name) == 2
    if pair and all(isinstance(index, int | np.integer) and index >= 0 for index in name):
        return "head", int(name[0]), int(name[1])
    raise GateError(
        f'{name!r} names no head; write "L0H5" or (0, 5), "L0G1" for a group, or "L0MLP"'
    )


def _warn_of_another_model(model: nn.Module, metadata: Mapping[str, Any]) -> None:
    said = _warned.setdefault(model, set())
    message = _other_model(model, metadata)
    if message and message not in said:
        said.add(message)
        logger.warning("the gates were fitted on %s", message)


def _other_model(model: nn.Module, metadata: Mapping[str, Any]) -> str:
    """Say on what else gates were fitted; empty where nothing shows that it is another model."""
    here, architecture = model_name(model), architecture_name(model)
    if metadata.get("weights"):
        now = describe_model(model, known=True)
        if metadata["weights"] == now["weights"] and not weights_difference(metadata, now):
            return ""
    there = metadata.get("model")
    if there and there.rstrip("/").split("/")[-1] != here.rstrip("/").split("/")[-1]:
        return f"{there}, not on {here}"
    if metadata.get("architecture", architecture) != architecture:
        return f"a {metadata['architecture']} model"
    if not metadata.get("weights"):
        return ""
    difference = weights_difference(metadata, now)
    return f"other weights ({difference})" if difference else ""

"""The folder of a study: what is in it when done, and what a killed run goes on from.

`config.yaml`, `manifest.json`, `gates.safetensors`, `metrics.jsonl`, `heads.csv`, `heads.parquet`,
`checks.json`, `report.html` and `figures/` are the study. `unfinished/` holds finished stages, the
checkpoint of the one under way, and what has been evaluated so far; it is gone when all is done.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from chg.causal_check import CausalCurve, Correlation
from chg.errors import ConfigError, OutputError, ResultsError
from chg.files import atomic_path, ensure_folder

FORMAT_VERSION = 1
CONFIG, MANIFEST, GATES, METRICS, CHECKS = (
    "config.yaml",
    "manifest.json",
    "gates.safetensors",
    "metrics.jsonl",
    "checks.json",
)
UNFINISHED = "unfinished"
SAME_RUN = ("configuration", "seeds", "model", "data", "held_out")
"""Parts of the manifest that must not change between a run and its continuation."""
FREE_TO_CHANGE = {"checkpoint_every", "seeds_per_batch"}
"""Settings that change no number but in rounding."""
OF_ONE_RUN = {"out", "resume", "quiet"}
"""Flags that are not settings of the study."""


class StudyFolder:
    """A study's files while it runs.

    Args:
        path: the folder.
        manifest: what is to be run.
        resume: go on with what is there.

    Raises:
        OutputError: the folder holds something already, or cannot be written.
        ConfigError: it holds a study of something else.
    """

    def __init__(self, path: str | Path, manifest: Mapping[str, Any], *, resume: bool) -> None:
        self.path = Path(path)
        begun = self.path / MANIFEST
        require_usable(path, resume=resume)
        if begun.is_file():
            _require_same(read_json(begun), manifest, self.path)
        self.manifest = manifest
        if not begun.is_file():
            write_json(begun, {"format_version": FORMAT_VERSION, "status": "running", **manifest})
        if not (self.path / CONFIG).is_file():
            _write_config(self.path / CONFIG, manifest["command"] or manifest["configuration"])
        if not self.finished:
            ensure_folder(self.path / UNFINISHED)

    @property
    def finished(self) -> bool:
        """Whether the study is done."""
        return bool(read_json(self.path / MANIFEST).get("status") == "complete")

    @property
    def metrics(self) -> Path:
        """One line per update, fit and stage."""
        return self.path / METRICS

    def cut_metrics(self, size: int) -> None:
        """Forget what was written after a checkpoint."""
        with self.metrics.open("ab") as file:
            file.truncate(size)

    def keep(self, name: str, tensors: Mapping[str, Tensor], **notes: Any) -> None:
        """Put tensors aside for a run that goes on."""
        with atomic_path(self.path / UNFINISHED / f"{name}.safetensors") as temporary:
            save_file(dict(tensors), temporary, metadata={"notes": json.dumps(notes)})

    def kept(self, name: str) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """What was put aside under that name, with its notes."""
        path = self.path / UNFINISHED / f"{name}.safetensors"
        return read_tensors(path) if path.is_file() else None

    def drop(self, name: str) -> None:
        """Forget what was put aside."""
        (self.path / UNFINISHED / f"{name}.safetensors").unlink(missing_ok=True)

    def finish(self, manifest: Mapping[str, Any]) -> None:
        """Call the study done."""
        write_json(
            self.path / MANIFEST,
            {"format_version": FORMAT_VERSION, "status": "complete", **manifest},
        )
        shutil.rmtree(self.path / UNFINISHED, ignore_errors=True)


def require_usable(path: str | Path, *, resume: bool) -> None:
    """See that a study can go there, before anything is loaded.

    Raises:
        OutputError: it holds something that is no study to go on with.
    """
    path = Path(path)
    if not path.exists():
        return
    # A run killed at its first file leaves a hidden one.
    if path.is_dir() and all(file.name.startswith(".") for file in path.iterdir()):
        return
    if not resume:
        raise OutputError(
            f"{path} exists already and is never overwritten; choose another --out, or go on with "
            "--resume"
        )
    if not (path / MANIFEST).is_file():
        raise OutputError(f"{path} holds no study to go on with; choose another --out")


def _require_same(before: Mapping[str, Any], now: Mapping[str, Any], path: Path) -> None:
    for part in SAME_RUN:
        old, new = before.get(part), json.loads(json.dumps(now.get(part)))
        if isinstance(old, dict) and isinstance(new, dict):
            differing = [
                f"{key} {old.get(key)!r} there, {new.get(key)!r} now"
                for key in sorted(old.keys() | new.keys())
                if old.get(key) != new.get(key) and key not in FREE_TO_CHANGE
            ]
        else:
            differing = [] if old == new else [f"{old!r} there, {new!r} now"]
        if differing:
            raise ConfigError(
                f"{path} is a study of another {part} ({differing[0]}); resume with the same "
                "settings, or choose another --out"
            )


def _write_config(path: Path, settings: Mapping[str, Any]) -> None:
    """Settings as `chg study --config` reads them."""
    kept = {name: value for name, value in settings.items() if name not in OF_ONE_RUN}
    with atomic_path(path) as temporary:
        temporary.write_text(yaml.safe_dump(kept, sort_keys=False), encoding="utf-8")


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        ResultsError: it is missing or damaged.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ResultsError(f"{path} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise ResultsError(f"{path} is damaged: it holds no JSON object")
    return content


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors of a file and the notes in its header.

    Raises:
        ResultsError: it is missing or damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            notes = json.loads((file.metadata() or {}).get("notes", "{}"))
            return {name: file.get_tensor(name) for name in file.keys()}, notes  # noqa: SIM118
    except (SafetensorError, ValueError, OSError) as error:
        raise ResultsError(f"{path} is missing or damaged: {error}") from error


def write_checks(
    path: Path, checks: Sequence[CausalCurve], correlations: Sequence[Correlation]
) -> None:
    """Write the causal check as JSON."""
    curves = [
        {**asdict(curve), "counts": curve.counts.tolist(), "difference": curve.difference.tolist()}
        for curve in checks
    ]
    rows = [
        {**one.row(), "spearman": None if np.isnan(one.spearman) else one.spearman}
        for one in correlations
    ]
    content = {"format_version": FORMAT_VERSION, "curves": curves, "correlations": rows}
    write_json(path, content)


def read_checks(path: Path) -> tuple[tuple[CausalCurve, ...], tuple[Correlation, ...]]:
    """Read it back.

    Raises:
        ResultsError: it is damaged.
    """
    content = read_json(path)
    try:
        curves = tuple(_curve(one) for one in content["curves"])
        correlations = tuple(
            Correlation(
                one["score"],
                one["effect"],
                float("nan") if one["spearman"] is None else float(one["spearman"]),
            )
            for one in content["correlations"]
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ResultsError(f"{path} is not a causal check as `chg study` writes it") from error
    return curves, correlations


def _curve(content: Mapping[str, Any]) -> CausalCurve:
    counts: NDArray[np.int64] = np.asarray(content["counts"], dtype=np.int64)
    orders = tuple(tuple((int(a), int(b)) for a, b in order) for order in content["heads"])
    return CausalCurve(
        **{
            **content,
            "counts": counts,
            "difference": np.asarray(content["difference"], dtype=np.float64),
            "heads": orders,
        }
    )


def flush(file: Any) -> int:
    """Bring a file to the disk; its size."""
    file.flush()
    os.fsync(file.fileno())
    return int(file.tell())

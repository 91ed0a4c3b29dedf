"""Folder of a study: its files when it is done, and those that a killed run goes on from.

`config.yaml`, `manifest.json`, `gates.safetensors`, `metrics.jsonl`, `heads.csv`, `heads.parquet`,
`checks.json`, `report.html` and `figures/` are the study. `unfinished/` holds finished stages, the
checkpoint of the one under way, and what has been evaluated so far; it is gone when all is done.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from safetensors.torch import save_file
from torch import Tensor

from chg.errors import ConfigError
from chg.files import (
    MANIFEST,
    atomic_path,
    ensure_folder,
    read_json,
    read_tensors,
    require_usable_folder,
    write_json,
)
from chg.models import WEIGHTS, weights_difference
from chg.results import CONFIG, METRICS

logger = logging.getLogger(__name__)

FORMAT_VERSION = 1
UNFINISHED = "unfinished"
SAME_RUN = ("configuration", "seeds", "model", "data", "held_out")
"""Parts of the manifest that must not change between a run and its continuation."""
FREE_TO_CHANGE = {"checkpoint_every", "seeds_per_batch"}
"""Settings that change no number but in rounding."""
OF_ONE_RUN = {"out", "resume", "quiet"}
"""Flags that are not settings of the study."""


class StudyFolder:
    """Files of a study while it runs.

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
        require_usable_folder(path, resume=resume)
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
        """True once the study is done."""
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
        """Read what was put aside under a name, with its notes; None if nothing was."""
        path = self.path / UNFINISHED / f"{name}.safetensors"
        return read_tensors(path) if path.is_file() else None

    def drop(self, name: str) -> None:
        """Forget what was put aside."""
        (self.path / UNFINISHED / f"{name}.safetensors").unlink(missing_ok=True)

    def finish(self, manifest: Mapping[str, Any]) -> None:
        """Mark the study as done."""
        write_json(
            self.path / MANIFEST,
            {"format_version": FORMAT_VERSION, "status": "complete", **manifest},
        )
        shutil.rmtree(self.path / UNFINISHED, ignore_errors=True)


def _require_same(before: Mapping[str, Any], now: Mapping[str, Any], path: Path) -> None:
    for part in SAME_RUN:
        old, new = before.get(part), json.loads(json.dumps(now.get(part)))
        if isinstance(old, dict) and isinstance(new, dict):
            differing = [
                f"{key} {old.get(key)!r} there, {new.get(key)!r} now"
                for key in sorted(old.keys() | new.keys())
                if old.get(key) != new.get(key) and key not in {*FREE_TO_CHANGE, *WEIGHTS}
            ]
        else:
            differing = [] if old == new else [f"{old!r} there, {new!r} now"]
        if differing:
            raise ConfigError(
                f"{path} is a study of another {part} ({differing[0]}); resume with the same "
                "settings, or choose another --out"
            )
    require_same_weights(before.get("model") or {}, now.get("model") or {}, str(path))


def require_same_weights(there: Mapping[str, Any], now: Mapping[str, Any], study: str) -> None:
    """See that a study is of a model's weights; warn where it does not say.

    Args:
        there: the model as the study describes it.
        now: the model as it is described now.
        study: name of the study, for messages.

    Raises:
        ConfigError: it is of others.
    """
    difference = weights_difference(there, now)
    if difference:
        raise ConfigError(
            f"{study} is of other weights ({difference}); use the model that it is of"
        )
    if "weights" not in there:
        logger.warning("%s does not say which weights it is of; use the same model only", study)


def _write_config(path: Path, settings: Mapping[str, Any]) -> None:
    """Write settings as `chg study --config` reads them."""
    kept = {name: value for name, value in settings.items() if name not in OF_ONE_RUN}
    with atomic_path(path) as temporary:
        temporary.write_text(yaml.safe_dump(kept, sort_keys=False), encoding="utf-8")


def flush(file: Any) -> int:
    """Bring a file to the disk, and return its size."""
    file.flush()
    os.fsync(file.fileno())
    return int(file.tell())

"""Folder of a study: its files when it is done, and those that a killed run goes on from.

`config.yaml`, `manifest.json`, `gates.safetensors`, `metrics.jsonl`, `heads.csv`, `heads.parquet`,
`checks.json`, `report.html` and `figures/` are the study. `continue/` holds fits, the checkpoint of
those under way, and what has been evaluated so far: a stopped study goes on from there, and a
finished one that is to have more updates or seeds. Without it, that is done again from the start.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from safetensors.torch import save_file
from torch import Tensor

from chg.errors import ConfigError
from chg.files import (
    CONFIG,
    MANIFEST,
    atomic_path,
    ensure_folder,
    read_json,
    read_tensors,
    require_usable_folder,
    write_json,
)
from chg.results import METRICS

FORMAT_VERSION = 1
CONTINUE = "continue"
SAME_RUN = ("configuration", "model", "data", "held_out")
"""Parts of the manifest that must not change between a run and its continuation."""
MAY_GROW = ("max_steps", "seeds")
"""Settings that a continuation may raise."""
FREE_TO_CHANGE = {"checkpoint_every", "seeds_per_batch"}
"""Settings that change no number but in rounding."""
OF_ONE_RUN = {"out", "resume", "quiet", "plan"}
"""Flags that are not settings of the study."""


class StudyFolder:
    """Files of a study while it runs.

    Args:
        path: the folder.
        manifest: what is to be run.
        resume: go on with what is there; more updates or more seeds may be asked for.

    Raises:
        OutputError: the folder holds something already, or cannot be written.
        ConfigError: it holds a study of something else.
    """

    def __init__(self, path: str | Path, manifest: Mapping[str, Any], *, resume: bool) -> None:
        self.path = Path(path)
        begun = self.path / MANIFEST
        require_usable_folder(path, resume=resume)
        before = read_json(begun) if begun.is_file() else None
        grown = {} if before is None else _grown(before, manifest, self.path)
        self.manifest = _continued(manifest, before, grown)
        if before is None or grown:
            running = {"format_version": FORMAT_VERSION, "status": "running", **self.manifest}
            write_json(begun, running)
        if grown or not (self.path / CONFIG).is_file():
            _write_config(self.path / CONFIG, manifest["command"] or manifest["configuration"])
        if not self.finished:
            ensure_folder(self.path / CONTINUE)

    @property
    def finished(self) -> bool:
        """True once the study is done."""
        return bool(read_json(self.path / MANIFEST).get("status") == "complete")

    @property
    def metrics(self) -> Path:
        """One line per update, fit and stage."""
        return self.path / METRICS

    def keep(self, name: str, tensors: Mapping[str, Tensor], **notes: Any) -> None:
        """Put tensors aside for a run that goes on."""
        with atomic_path(self.path / CONTINUE / f"{name}.safetensors") as temporary:
            save_file(dict(tensors), temporary, metadata={"notes": json.dumps(notes)})

    def kept(self, name: str) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Read what was put aside under a name, with its notes; None if nothing was."""
        path = self.path / CONTINUE / f"{name}.safetensors"
        return read_tensors(path) if path.is_file() else None

    def names(self) -> set[str]:
        """Names under which something was put aside."""
        return {path.stem for path in (self.path / CONTINUE).glob("*.safetensors")}

    def drop(self, name: str) -> None:
        """Forget what was put aside."""
        (self.path / CONTINUE / f"{name}.safetensors").unlink(missing_ok=True)

    def finish(self, manifest: Mapping[str, Any]) -> None:
        """Mark the study as done."""
        write_json(
            self.path / MANIFEST,
            {"format_version": FORMAT_VERSION, "status": "complete", **manifest},
        )


def _grown(before: Mapping[str, Any], now: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Find what a continuation raises, with the values before.

    Raises:
        ConfigError: it lowers that, or changes anything else.
    """
    settings = [study.get("configuration", {}) for study in (before, now)]
    pairs = {name: [one.get(name) for one in settings] for name in MAY_GROW}
    changed = {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
    for name, (old, new) in changed.items():
        if old is None or new is None or new < old:
            raise ConfigError(
                f"{path} is a study with {name} {old}; it can go on to more, not to {name} {new}: "
                "give a higher number, or choose another --out"
            )
    _require_same(before, now, path)
    return {name: old for name, (old, _) in changed.items()}


def _continued(
    manifest: Mapping[str, Any], before: Mapping[str, Any] | None, grown: Mapping[str, Any]
) -> dict[str, Any]:
    """Note what was raised, and when, in the manifest."""
    notes = list(before.get("continued", ())) if before else []
    if grown:
        notes.append({"created": manifest["created"], "before": dict(grown)})
    return {**manifest, "continued": notes} if notes else dict(manifest)


def _require_same(before: Mapping[str, Any], now: Mapping[str, Any], path: Path) -> None:
    for part in SAME_RUN:
        old, new = before.get(part), json.loads(json.dumps(now.get(part)))
        if isinstance(old, dict) and isinstance(new, dict):
            free = FREE_TO_CHANGE | set(MAY_GROW)
            differing = [
                f"{key} {old.get(key)!r} there, {new.get(key)!r} now"
                for key in sorted(old.keys() | new.keys())
                if old.get(key) != new.get(key) and key not in free
            ]
        else:
            differing = [] if old == new else [f"{old!r} there, {new!r} now"]
        if differing:
            raise ConfigError(
                f"{path} is a study of another {part} ({differing[0]}); resume with the same "
                "settings, or choose another --out"
            )


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

"""Folder of a study: its files when it is done, and those that a killed run goes on from.

`config.yaml`, `manifest.json`, `gates.safetensors`, `metrics.jsonl`, `heads.csv`, `heads.parquet`,
`checks.json`, `report.html` and `figures/` are the study. `continue/` holds fits, the checkpoint of
those under way, and what has been evaluated so far: a stopped study goes on from there, and a
finished one that is to have more updates or seeds. Without it, that is done again from the start.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import filelock
import torch
import yaml
from safetensors.torch import save_file
from torch import Tensor

from chg.config import StudyConfig
from chg.errors import ConfigError, OutputError, ResultsError
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
from chg.models import WEIGHTS, weights_difference
from chg.results import METRICS, read_manifest

FORMAT_VERSION = 1
CONTINUE = "continue"
SAME_RUN = ("configuration", "model", "data", "held_out")
"""Parts of the manifest that must not change between a run and its continuation."""
MAY_GROW = ("max_steps", "seeds")
"""Settings that a continuation may raise."""
FREE_TO_CHANGE = {"checkpoint_every", "patterns", "seeds_per_batch"}
"""Settings that change no number but in rounding, or add some to the others."""
OF_ONE_RUN = {"out", "resume", "quiet", "plan"}
"""Flags that are not settings of the study."""
PHASES = {"initial": "G0", "pushed": "G+ and G-"}
"""Beginning of the names of kept fits -> their stage; under other names measurements are kept."""
LOCK = ".lock"

logger = logging.getLogger(__name__)


class StudyFolder:
    """Files of a study while it runs.

    Args:
        path: the folder.
        manifest: what is to be run.
        resume: go on with what is there; more updates or more seeds may be asked for.

    Raises:
        OutputError: the folder holds something already, another run works in it, or it cannot be
            written.
        ConfigError: it holds a study of something else.
    """

    def __init__(self, path: str | Path, manifest: Mapping[str, Any], *, resume: bool) -> None:
        self.path = Path(path)
        require_usable_folder(path, resume=resume)
        self._lock = filelock.FileLock(self.path / LOCK, thread_local=False)
        if not self.finished:
            self._acquire()
        try:
            self.manifest = self._begin(manifest)
        except BaseException:
            self._lock.release()  # whoever keeps the traceback keeps this object
            raise

    def _begin(self, manifest: Mapping[str, Any]) -> dict[str, Any]:
        """Write the manifest and the settings, where they are new or have grown."""
        begun = self.path / MANIFEST
        before = read_manifest(self.path, finished=False) if begun.is_file() else None
        grown = {} if before is None else _grown(before, manifest, self.path)
        if grown and not self._lock.is_locked:
            self._acquire()
        noted = _continued(manifest, before, grown)
        if before is None or grown:
            running = {"format_version": FORMAT_VERSION, "status": "running", **noted}
            write_json(begun, running)
        if grown or not (self.path / CONFIG).is_file():
            _write_config(self.path / CONFIG, manifest["command"] or manifest["configuration"])
        if not self.finished:
            ensure_folder(self.path / CONTINUE)
        return noted

    @property
    def finished(self) -> bool:
        """True once the study is done."""
        manifest = self.path / MANIFEST
        return manifest.is_file() and read_json(manifest).get("status") == "complete"

    def __enter__(self) -> StudyFolder:
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def _acquire(self) -> None:
        """Take the folder for this run; the system gives it back when the process ends."""
        ensure_folder(self.path)
        try:
            self._lock.acquire(timeout=0)
        except filelock.Timeout as error:
            raise OutputError(
                f"another run works in {self.path}; wait for it, or choose another --out "
                f"(if there is none, on any machine, delete {self.path / LOCK})"
            ) from error
        except (OSError, NotImplementedError) as error:
            raise OutputError(f"cannot lock {self.path}: {error}; choose another --out") from error

    @property
    def metrics(self) -> Path:
        """One line per update, fit and stage."""
        return self.path / METRICS

    def keep(self, name: str, tensors: Mapping[str, Tensor], **notes: Any) -> None:
        """Put tensors aside for a run that goes on."""
        sealed = json.dumps({**notes, "checksum": _checksum(tensors, notes)})
        with atomic_path(self._aside(name)) as temporary:
            save_file(dict(tensors), temporary, metadata={"notes": sealed})

    def kept(self, name: str) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Read what was put aside under a name, with its notes; None if nothing was.

        A damaged file counts as none, and so does all that was made from it.
        """
        path = self._aside(name)
        if not path.is_file():
            return None
        try:
            tensors, notes = read_tensors(path)
            if notes.pop("checksum", None) == _checksum(tensors, notes):
                return tensors, notes
        except ResultsError:
            pass
        phase = next((phase for phase in PHASES if name.startswith(phase)), None)
        stage = name.replace("_", " ") if phase is None else PHASES[phase]
        logger.warning("%s is damaged; the study goes on from the stage %s", path, stage)
        path.unlink()
        self._drop_what_follows(phase)
        return None

    def _drop_what_follows(self, phase: str | None) -> None:
        """Forget what was made from the fits of a phase: those of later ones, and measurements."""
        if phase is None:
            return
        before = tuple(PHASES)[: tuple(PHASES).index(phase) + 1]
        for path in (self.path / CONTINUE).glob("*.safetensors"):
            if not path.name.startswith(before):
                path.unlink()

    def _aside(self, name: str) -> Path:
        return self.path / CONTINUE / f"{name}.safetensors"

    def names(self) -> set[str]:
        """Names under which something was put aside."""
        return {path.stem for path in (self.path / CONTINUE).glob("*.safetensors")}

    def drop(self, name: str) -> None:
        """Forget what was put aside."""
        self._aside(name).unlink(missing_ok=True)

    def finish(self, manifest: Mapping[str, Any]) -> None:
        """Mark the study as done."""
        write_json(
            self.path / MANIFEST,
            {"format_version": FORMAT_VERSION, "status": "complete", **manifest},
        )
        (self.path / LOCK).unlink(missing_ok=True)


def _checksum(tensors: Mapping[str, Tensor], notes: Mapping[str, Any]) -> str:
    """Digest of tensors and notes, the same for what was written and what is read back."""
    digest = hashlib.sha256(json.dumps(notes, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def title_of(path: str | Path) -> str | None:
    """Title of the study that was begun in a folder; None if none was."""
    begun = Path(path) / MANIFEST
    return read_json(begun).get("title") if begun.is_file() else None


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
            if part == "configuration":  # a setting that came later is at its default there
                defaults = {**asdict(StudyConfig()), "recipe": "of an older version"}
                old = {k: v for k, v in defaults.items() if k in new} | old
            free = {*FREE_TO_CHANGE, *MAY_GROW, *WEIGHTS}
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

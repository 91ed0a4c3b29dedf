"""Provenance of a result: settings and versions, so that someone else can make it again."""

from __future__ import annotations

import dataclasses
import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).resolve().parents[1]
"""Folder of chg."""
PACKAGES = ("chg", "torch", "transformers", "datasets", "numpy")
"""Packages whose versions are noted."""


def package_versions() -> dict[str, str]:
    """Versions of Python and of the packages in `PACKAGES`."""
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:  # a bare clone, not installed
            versions[name] = "not installed"
    return versions


def git_commit() -> str | None:
    """Last commit that changed `src/chg` in the clone that chg runs from; None without a clone."""
    # Inside a git hook such variables point to the repository of the hook.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        log = subprocess.run(
            ["git", "-C", str(PACKAGE), "log", "-1", "--format=%H", "--", "."],
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
            env=environment,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return log.stdout.strip() or None


def origin(config: Any, **described: Any) -> dict[str, Any]:
    """Metadata of a result: what it is of, its settings, and the versions that made it.

    Args:
        config: a dataclass of settings.
        described: the model, the data and whatever else the result depends on.
    """
    return {
        **described,
        "configuration": dataclasses.asdict(config),
        "versions": package_versions(),
    }

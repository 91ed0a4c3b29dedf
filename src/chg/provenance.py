"""What a result was made with, so that someone else can make it again."""

from __future__ import annotations

import dataclasses
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from torch import nn

from chg.architectures import architecture_name, model_name

PACKAGES = ("chg", "torch", "transformers", "datasets", "numpy")


def package_versions() -> dict[str, str]:
    """Versions of what takes part in a computation."""
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:  # a bare clone, not installed
            versions[name] = "not installed"
    return versions


def describe_model(model: nn.Module) -> dict[str, Any]:
    """Name, revision (the commit it resolved to), architecture and dtype."""
    config = getattr(model, "config", None)
    return {
        "model": model_name(model),
        "revision": getattr(config, "_commit_hash", None),
        "architecture": architecture_name(model),
        "dtype": str(next(model.parameters()).dtype).removeprefix("torch."),
    }


def describe_config(config: Any) -> dict[str, Any]:
    """A dataclass of settings as a flat dictionary."""
    return dataclasses.asdict(config)

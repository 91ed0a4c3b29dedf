"""Experiment trackers (wandb, tensorboard, trackio), through accelerate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from chg.config import Reporter
from chg.errors import ConfigError
from chg.fitting import Report


@contextmanager
def tracker(name: Reporter, settings: Mapping[str, Any]) -> Iterator[Report | None]:
    """Yield a function that sends figures to the tracker, or None for `none`.

    Raises:
        ConfigError: the tracker is not installed.
    """
    if name == "none":
        yield None
        return
    from accelerate import Accelerator
    from accelerate.tracking import get_available_trackers

    if name not in {str(available) for available in get_available_trackers()}:
        raise ConfigError(f"--report_to {name} needs the package {name}: pip install {name}")
    accelerator = Accelerator(cpu=True, log_with=name, project_dir="runs")
    plain = {k: v if isinstance(v, int | float | str) else str(v) for k, v in settings.items()}
    accelerator.init_trackers("chg", config=plain)
    try:
        yield lambda figures, step: accelerator.log(dict(figures), step=step)
    finally:
        accelerator.end_training()

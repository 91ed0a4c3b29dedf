"""Progress of long work: bars on a terminal, and experiment trackers (through accelerate)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tqdm.auto import tqdm

from chg.config import Reporter
from chg.errors import ConfigError

Report = Callable[[Mapping[str, float], int], None]
"""Receives named figures and the update they belong to, as experiment trackers do."""

BAR = "{l_bar}{bar}| {n:.0f}/{total:.0f} [{elapsed}<{remaining}, {rate_fmt}{postfix}]"
"""tqdm's own, but for whole numbers where work comes in fractions of a unit."""


class Progress(tqdm):  # type: ignore[type-arg]
    """tmp."""

    def advance(self, share: float) -> None:
        """tmp."""
        self.update(share)

    def set_status(self, text: str) -> None:
        """tmp."""
        self.set_postfix_str(text, refresh=False)


def progress_bar(total: int, description: str, *, show: bool, unit: str = "update") -> Progress:
    """A tqdm bar with the time left; off when `show` is false or stderr is not a terminal."""
    return Progress(
        total=total,
        desc=description,
        unit=unit,
        bar_format=BAR,
        disable=None if show else True,
    )


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

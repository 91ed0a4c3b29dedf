"""Progress of long work: a bar or lines in the log, and trackers (through accelerate)."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from tqdm.auto import tqdm

from chg.config import Reporter
from chg.errors import ConfigError

logger = logging.getLogger(__name__)


Report = Callable[[Mapping[str, float], int], None]
"""Receives named numbers and the update they belong to, as experiment trackers do."""

BAR = "{desc} |{bar:10}| {n:.0f}/{total:.0f}, {remaining} left{postfix}, {rate_fmt}"
"""The line of a bar, its most important parts first: a narrow terminal cuts the end."""

SECONDS_BETWEEN_LINES = 30.0
"""Longest silence in the log where there is no terminal."""


class ProgressBar:
    """Progress of one job: a bar on a terminal, elsewhere lines in the log.

    The lines come from a thread of their own, so that a single slow update is not silent either.
    """

    def __init__(
        self, total: float, description: str, *, show: bool, unit: str, initial: float = 0
    ) -> None:
        self._total, self._initial, self._done = total, initial, initial
        self._description, self._unit, self._status = description, unit, ""
        self._began = time.monotonic()
        self._bar = tqdm(
            total=total,
            desc=description,
            unit=unit,
            initial=initial,
            bar_format=BAR,
            dynamic_ncols=True,
            disable=None if show else True,
        )
        self._logs = show and bool(self._bar.disable)
        self._closed = threading.Event()
        if self._logs:
            threading.Thread(target=self._log_until_closed, daemon=True).start()

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def update(self, amount: float = 1) -> None:
        """Advance by some units or a fraction of one, never beyond the total."""
        self._done = min(self._done + amount, self._total)
        self._bar.n = self._done
        self._bar.update(0)

    def set_status(self, text: str) -> None:
        """Show a text from the next update on, such as the loss; the most important comes first."""
        self._status = text
        self._bar.set_postfix_str(text, refresh=False)

    def close(self) -> None:
        """End the bar, or the lines with one that tells the time taken."""
        if self._closed.is_set():
            return
        self._closed.set()
        self._bar.close()
        if self._logs:
            logger.info("%s", self._line(f"in {_clock(self._elapsed)}"))

    @property
    def _elapsed(self) -> float:
        return time.monotonic() - self._began

    def _log_until_closed(self) -> None:
        while not self._closed.wait(SECONDS_BETWEEN_LINES):
            logger.info("%s", self._line(f"{self._left()} left"))

    def _left(self) -> str:
        done = self._done - self._initial
        return _clock(self._elapsed / done * (self._total - self._done)) if done > 0 else "?"

    def _line(self, times: str) -> str:
        status = f", {self._status}" if self._status else ""
        count = f"{self._unit} {self._done:.0f} of {self._total:.0f}"
        return f"{self._description}: {count}, {times}{status}"


def progress_bar(
    total: float, description: str, *, show: bool, unit: str = "update", initial: float = 0
) -> ProgressBar:
    """Make a bar with the time left; neither bar nor lines if `show` is false.

    Args:
        total: units of work.
        description: the job, in two or three words.
        show: whether to show anything.
        unit: the name of one unit of work.
        initial: units done in an earlier run, which say nothing about the time left.
    """
    return ProgressBar(total, description, show=show, unit=unit, initial=initial)


def _clock(seconds: float) -> str:
    """Seconds as `01:28`, or `1:01:28`."""
    return str(tqdm.format_interval(seconds))


@contextmanager
def tracker(name: Reporter, settings: Mapping[str, Any]) -> Iterator[Report | None]:
    """Yield a function that sends numbers to the tracker, or None for `none`.

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
        yield lambda numbers, step: accelerator.log(dict(numbers), step=step)
    finally:
        accelerator.end_training()

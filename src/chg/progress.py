"""Progress bars: on a terminal only, and never when quiet."""

from __future__ import annotations

from typing import Any

from tqdm.auto import tqdm

BAR = "{l_bar}{bar}| {n:.0f}/{total:.0f} [{elapsed}<{remaining}, {rate_fmt}{postfix}]"
"""tqdm's own, but for whole numbers where work comes in fractions of a unit."""


def progress_bar(total: int, description: str, *, show: bool, unit: str = "update") -> Any:
    """A tqdm bar with the time left; off when `show` is false or stderr is not a terminal."""
    return tqdm(
        total=total,
        desc=description,
        unit=unit,
        bar_format=BAR,
        disable=None if show else True,
    )

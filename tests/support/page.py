"""A study's page in Chromium: what tests of its parts share."""

from __future__ import annotations

import shutil
from collections.abc import Callable

from playwright.sync_api import Page

from chg.report import Study

NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
ARGUMENTS = [
    f"--{one}"
    for one in (
        "no-sandbox",
        "disable-gpu",
        "disable-quic",
        "no-first-run",
        "disable-sync",
        "disable-background-networking",
        "disable-component-update",
    )
]
Open = Callable[..., Page]
"""Opens a page by name or path: `opened("4x8", width=390, theme="dark", fragment="view=role")`."""


def choose(page: Page, view: str) -> None:
    """Color the map by a view."""
    page.check(f"#views input[value={view}]", force=True)


def fill(page: Page, head: str) -> str:
    """Color of a head's cell."""
    return str(page.locator(f"[data-head={head}].cell").evaluate("e => getComputedStyle(e).fill"))


def rgb(color: str) -> str:
    """A color of the palette as a browser writes it."""
    red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgb({red}, {green}, {blue})"


def first_of(study: Study, role: str) -> str:
    """Name of the first head of a role."""
    row = study.heads[study.heads["role"] == role].iloc[0]
    return f"L{row['layer']}H{row['head']}"


def table_names(page: Page) -> list[str]:
    """Heads in the table, from the top."""
    return page.locator("#heads tbody td:first-child").all_inner_texts()

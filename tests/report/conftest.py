"""Pages of made-up studies, opened in a real browser."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from chg.report import Study
from chg.report.page import save_page
from support.example_study import example_study
from support.page import ARGUMENTS, CHROMIUM, Open


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        missing = "Chromium is not installed; `make chromium` installs Debian's"
        if os.environ.get("CHG_NEED_CHROMIUM"):
            pytest.fail(missing)
        pytest.skip(missing)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def studies() -> dict[str, Study]:
    return {
        "4x8": example_study(4, 8, 3, path=True),
        "hybrid": example_study(6, 4, 2, hybrid=True),
        "patterns": example_study(6, 8, 3, patterns=True),
        "30x9": example_study(30, 9, 2),
        "mlps": _with_mlps(example_study(4, 9, 2)),
        "80x64": example_study(80, 64, 10, path=True, steps=500),
    }


def _with_mlps(study: Study) -> Study:
    """The study with its last column taken for that of MLP blocks."""
    return replace(study, manifest={**study.manifest, "unit": "head_and_mlp"})


@pytest.fixture(scope="session")
def pages(studies: dict[str, Study], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    return {name: save_page(study, folder / f"{name}.html") for name, study in studies.items()}


@pytest.fixture
def opened(browser: Browser, pages: dict[str, Path]) -> Iterator[Open]:
    """Opens a page; at the end, nothing must have gone wrong in it, and nothing been asked for."""
    troubles: list[str] = []
    requests: list[str] = []
    contexts = []

    def open_page(
        name: str = "4x8", width: int = 1280, theme: str = "light", fragment: str = ""
    ) -> Page:
        context = browser.new_context(
            viewport={"width": width, "height": 1600}, color_scheme=theme, reduced_motion="reduce"
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.on("console", lambda message: troubles.append(message.text))
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        address = (pages[name] if name in pages else Path(name)).as_uri()
        page.goto(f"{address}#{fragment}" if fragment else address)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert troubles == []
    assert {url for url in requests if not url.startswith(("file:", "blob:", "data:"))} == set()

"""The report page in a real browser: what it shows, how it answers, that it needs no network."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from chg.report import Study
from chg.report.page import render_page, save_page
from chg.report.page_data import heads_csv
from chg.report.palette import DARK_ROLE_COLORS, ROLE_COLORS
from support.example_study import SCORES, example_study

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


LIMIT = 3_000_000
"""Bytes of the largest page: 80 x 64 heads, ten seeds."""


Open = Callable[..., Page]


@pytest.fixture(scope="module")
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


@pytest.fixture(scope="module")
def studies() -> dict[str, Study]:
    return {
        "4x8": example_study(4, 8, 3, path=True),
        "hybrid": example_study(6, 4, 2, hybrid=True),
        "80x64": example_study(80, 64, 10, path=True, steps=500),
    }


@pytest.fixture(scope="module")
def pages(studies: dict[str, Study], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    return {name: save_page(study, folder / f"{name}.html") for name, study in studies.items()}


@pytest.fixture
def opened(browser: Browser, pages: dict[str, Path]) -> Iterator[Open]:
    """Opens a page; at the end, nothing must have gone wrong in it, and nothing been asked for."""
    troubles: list[str] = []
    requests: list[str] = []
    contexts = []

    def open_page(name: str = "4x8", width: int = 1280, theme: str = "light") -> Page:
        context = browser.new_context(
            viewport={"width": width, "height": 1600}, color_scheme=theme, reduced_motion="reduce"
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.on("console", lambda message: troubles.append(message.text))
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto((pages[name] if name in pages else Path(name)).as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert troubles == []
    assert {url for url in requests if not url.startswith(("file:", "blob:", "data:"))} == set()


def choose(page: Page, view: str) -> None:
    page.check(f"#views input[value={view}]", force=True)


def fill(page: Page, head: str) -> str:
    return str(page.locator(f"[data-head={head}].cell").evaluate("e => getComputedStyle(e).fill"))


def rgb(colour: str) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgb({red}, {green}, {blue})"


def first_of(study: Study, role: str) -> str:
    row = study.heads[study.heads["role"] == role].iloc[0]
    return f"L{row['layer']}H{row['head']}"


def table_names(page: Page) -> list[str]:
    return page.locator("#heads tbody td:first-child").all_inner_texts()


def test_says_what_was_run_and_what_was_found(opened: Open, studies: dict[str, Study]) -> None:
    page, study = opened(), studies["4x8"]
    assert page.locator("h1").inner_text() == study.manifest["title"]
    assert page.locator(".summary").inner_text() == study.manifest["summary"]
    for role in ROLE_COLORS:
        counted = page.locator(f".count.{role} b").inner_text().split()[0]
        assert int(counted) == (study.heads["role"] == role).sum()
    page.locator(".facts summary").click()
    assert "0.412" in page.locator("#figures").inner_text()
    for check in study.checks:
        assert check.verdict in page.locator("#checks").inner_text()
    badges = page.locator("#checks .badge").all_inner_texts()
    assert [badge.lstrip("\u2713\u2717 ") for badge in badges] == [
        "holds", "does not hold", "no such head",
    ]  # fmt: skip
    assert "L3H0 (33 %), L3H1 (67 %)" in page.locator("#agreement-words").inner_text()


def test_the_switch_changes_the_map(opened: Open, studies: dict[str, Study]) -> None:
    page, study = opened(), studies["4x8"]
    helps, hinders = first_of(study, "facilitating"), first_of(study, "interfering")
    assert fill(page, helps) == rgb(ROLE_COLORS["facilitating"])
    assert fill(page, hinders) == rgb(ROLE_COLORS["interfering"])
    seen = {fill(page, helps)}
    views = page.locator("#views input").evaluate_all("all => all.map(e => e.value)")
    assert views == ["role", *SCORES, *study.logits, "ablation", "estimate"]
    for view in views[1:]:
        choose(page, view)
        assert fill(page, helps) != fill(page, hinders), view
        seen.add(fill(page, helps))
    assert len(seen) > 5
    page.locator("#map").press("r")
    assert fill(page, helps) == rgb(ROLE_COLORS["facilitating"])


def test_one_seed_shows_its_own_roles(opened: Open, studies: dict[str, Study]) -> None:
    page, study = opened(), studies["4x8"]
    for seed in range(2):
        page.select_option("#seed", str(seed))
        for head in (0, 1):
            role = study.roles[seed, -1, head]
            assert fill(page, f"L3H{head}") == rgb(ROLE_COLORS[role])
    choose(page, "ablation")
    assert page.locator("#seed").is_disabled()


def test_sorting_sorts(opened: Open, studies: dict[str, Study]) -> None:
    page, heads = opened(), studies["4x8"].heads
    for column, field, first_ascends in (
        ("interference", "interference_mean", False),
        ("ablation", "ablation_score", True),
    ):
        header = page.locator(f"th[data-column={column}]")
        for ascends in (first_ascends, not first_ascends):
            header.locator("button").press("Enter")
            word = "ascending" if ascends else "descending"
            assert header.get_attribute("aria-sort") == word
            order = heads.sort_values(field, ascending=ascends, kind="stable")
            expected = [f"L{row.layer}H{row.head}" for row in order.itertuples()]
            assert table_names(page) == expected[:25]
    page.get_by_role("button", name="Next").click()
    assert len(table_names(page)) == len(heads) - 25


def test_filters_filter_table_and_map(opened: Open, studies: dict[str, Study]) -> None:
    page, heads = opened(), studies["4x8"].heads
    for text in ("L3H7", "L3.H7", "3.7", "l3h7"):
        page.fill("#find", text)
        assert table_names(page) == ["L3H7"]
        assert page.locator(".cell:not(.faded)").count() == 1
    page.fill("#find", "L2, 0.1")
    assert page.locator("#found").inner_text() == "9 of 32 heads"
    page.fill("#find", "nonsense")
    assert "not a head: nonsense" in page.locator("#found").inner_text()
    page.fill("#find", "")
    page.uncheck("#role-filter input[value=irrelevant]", force=True)
    assert page.locator(".cell:not(.faded)").count() == (heads["role"] != "irrelevant").sum()
    page.fill("#limit-value", "0.9")
    page.press("#limit-value", "Enter")
    left = heads[(heads["role"] != "irrelevant") & (heads["facilitation_mean"] >= 0.9)]
    assert len(table_names(page)) == len(left) > 0
    page.locator("#limits button").click()
    page.locator(".count.irrelevant").click()
    assert page.locator(".cell:not(.faded)").count() == (heads["role"] == "irrelevant").sum()


def numbers_of(study: Study, layer: int, head: int) -> list[str]:
    table = study.heads
    row = table[(table["layer"] == layer) & (table["head"] == head)].iloc[0]
    shown = [f"{row[f'{score}_mean']:.3f}" for score in SCORES]
    shown += [f"{row[f'{score}_{end}']:.3f}" for score in SCORES for end in ("low", "high")]
    return [*shown, f"{row['ablation_score']:+.4f}".replace("-", "\u2212"), str(row["role"])]


def test_pointing_shows_the_numbers_of_the_head(opened: Open, studies: dict[str, Study]) -> None:
    page = opened()
    page.hover("[data-head=L2H5]")
    told = page.locator("#tooltip").inner_text()
    assert told.startswith("L2H5")
    for text in numbers_of(studies["4x8"], 2, 5):
        assert text in told
        assert text in page.locator("#inspector").inner_text()
    page.hover("h1")
    assert page.locator("#tooltip").is_hidden()


def test_arrow_keys_do_the_same(opened: Open, studies: dict[str, Study]) -> None:
    page = opened("hybrid")
    page.locator("#seed").focus()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "map"
    assert page.locator("#tooltip").get_attribute("data-head") == "L0H0"
    # Layer 1 has no heads.
    for key in ("ArrowRight", "ArrowDown", "End", "ArrowRight"):
        page.keyboard.press(key)
    told = page.locator("#tooltip").inner_text()
    assert told.startswith("L2H3")
    for text in numbers_of(studies["hybrid"], 2, 3):
        assert text in told
    assert page.locator("#live").inner_text().startswith("L2H3, ")


def test_pinned_heads_stand_side_by_side(opened: Open) -> None:
    page = opened()
    page.click("[data-head=L1H2]")
    page.locator("#map").press("ArrowRight")
    page.keyboard.press("Enter")
    headers = page.locator(".compare thead th")
    assert [text.split()[0][:4] for text in headers.all_inner_texts()] == ["L1H2", "L1H3"]
    assert page.locator(".pin").count() == 2
    assert page.locator("#heads tr.pinned").count() == 2
    page.get_by_role("button", name="Unpin L1H2").click()
    assert page.locator(".pin").count() == 1
    page.locator("#map").press("Escape")
    assert page.locator(".pin").count() == 0


def test_the_downloaded_table_is_the_csv(opened: Open, studies: dict[str, Study]) -> None:
    page = opened()
    with page.expect_download() as download:
        page.click("#download")
    assert download.value.suggested_filename == "heads.csv"
    assert Path(download.value.path()).read_text() == heads_csv(studies["4x8"])


def test_light_and_dark(opened: Open, studies: dict[str, Study]) -> None:
    page = opened(theme="dark")
    helps = first_of(studies["4x8"], "facilitating")
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(ground)
    assert fill(page, helps) == rgb(DARK_ROLE_COLORS["facilitating"])
    page.click("#theme")
    assert page.evaluate(ground) != dark
    assert fill(page, helps) == rgb(ROLE_COLORS["facilitating"])


@pytest.mark.parametrize("name", ["4x8", "hybrid", "80x64"])
def test_nothing_is_wider_than_the_screen(opened: Open, name: str) -> None:
    page = opened(name, width=1280)
    for width in (1280, 768, 390):
        page.set_viewport_size({"width": width, "height": 1200})
        page.evaluate("new Promise(done => requestAnimationFrame(() => setTimeout(done, 60)))")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.locator("#map svg").bounding_box()["width"] <= width  # type: ignore[index]


def test_runs_in_a_notebook_s_frame(opened: Open, pages: dict[str, Path], tmp_path: Path) -> None:
    """No origin, no storage: what Colab and Jupyter put around a page."""
    host = tmp_path / "host.html"
    text = pages["4x8"].read_text().replace("&", "&amp;").replace('"', "&quot;")
    host.write_text(f'<iframe sandbox="allow-scripts" srcdoc="{text}"></iframe>')
    page = opened(str(host))
    assert page.frame_locator("iframe").locator(".cell").count() == 32


def test_a_study_that_says_little_has_a_page_too(opened: Open, tmp_path: Path) -> None:
    study = example_study(2, 3, 1)
    heads = study.heads.drop(columns=["ablation_score", "ablation_stderr", "estimate_score"])
    bare = dataclasses.replace(
        study,
        manifest={"title": "</script><b>a & b"},
        heads=heads,
        checks=(),
        correlations=(),
        metrics=study.metrics.iloc[:0],
    )
    page = opened(str(save_page(bare, tmp_path / "bare.html")))
    assert page.locator("h1").inner_text() == "</script><b>a & b"
    assert page.locator(".cell").count() == 6
    for hidden in ("curves", "checks", "agreement", "path"):
        assert page.locator(f"#{hidden}-section").is_hidden()
    page.hover("[data-head=L1H1]")
    assert "ablation" not in page.locator("#tooltip").inner_text()


def test_a_page_stays_small(pages: dict[str, Path]) -> None:
    assert pages["4x8"].stat().st_size < 200_000
    assert pages["80x64"].stat().st_size < LIMIT


def test_a_page_asks_for_nothing(studies: dict[str, Study]) -> None:
    page = render_page(studies["hybrid"])
    assert "NaN" not in page.split('id="data">')[1].split("</script>")[0]
    for word in ("src=", "http://", "https://", "localStorage", "@import", "url("):
        assert word not in page.replace("http://www.w3.org/2000/svg", ""), word

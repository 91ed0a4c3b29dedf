"""The page's map: what it shows, how it answers, what its address says, what it saves."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np
from matplotlib.image import imread
from playwright.sync_api import expect

from chg.report import Study
from chg.report.page import save_page
from chg.report.palette import DARK_ROLE_COLORS, ROLE_COLORS
from support.example_study import SCORES
from support.page import Open, choose, fill, first_of, rgb


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


def test_light_and_dark(opened: Open, studies: dict[str, Study]) -> None:
    page = opened(theme="dark")
    helps = first_of(studies["4x8"], "facilitating")
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(ground)
    assert fill(page, helps) == rgb(DARK_ROLE_COLORS["facilitating"])
    page.click("#theme")
    assert page.evaluate(ground) != dark
    assert fill(page, helps) == rgb(ROLE_COLORS["facilitating"])


def test_a_deep_narrow_model_uses_the_width(opened: Open) -> None:
    page = opened("30x9", width=1400)
    picture, card = (page.locator(one).bounding_box() for one in ("#map svg", "#map"))
    assert picture is not None
    assert card is not None
    assert picture["width"] > 0.9 * card["width"]
    page.hover("[data-head=L29H8]")
    assert page.locator("#tooltip").inner_text().startswith("L29H8")


def test_the_address_says_what_is_shown(opened: Open) -> None:
    page = opened()
    page.select_option("#seed", "1")
    choose(page, "removal")
    for head in ("L1H2", "L3H7"):
        page.click(f"[data-head={head}]")
    page.hover("[data-head=L0H4]")
    page.wait_for_url(re.compile("L0H4"))
    fragment = page.evaluate("location.hash.slice(1)")
    assert fragment == "view=removal&seed=1&pins=L1H2,L3H7&head=L0H4"
    other = opened(fragment=fragment)
    assert other.locator("#views input:checked").get_attribute("value") == "removal"
    assert other.locator("#seed").input_value() == "1"
    assert other.locator(".pin").count() == 2
    assert other.locator(".cursor").count() == 1
    assert fill(other, "L1H2") == fill(page, "L1H2")
    other.evaluate("location.hash = 'view=ablation&pins=L0H0'")
    expect(other.locator(".pin")).to_have_count(1)
    assert other.locator("#views input:checked").get_attribute("value") == "ablation"


def test_an_address_of_nothing_is_no_trouble(opened: Open) -> None:
    page = opened(fragment="view=constructor&seed=99&pins=L99H1,x&head=")
    assert page.locator("#views input:checked").get_attribute("value") == "role"
    assert page.locator(".pin").count() == 0
    anchored = opened(fragment="table-section")
    assert anchored.locator("#views input:checked").get_attribute("value") == "role"


def test_attention_patterns_are_views_of_their_own(opened: Open, studies: dict[str, Study]) -> None:
    page, heads = opened("patterns"), studies["patterns"].heads
    views = page.locator("#views input").evaluate_all("all => all.map(e => e.value)")
    assert views[-3:] == ["previous_token", "duplicate_token", "induction"]
    for view in views[-3:]:
        choose(page, view)
        assert page.locator("#seed").is_disabled()
        assert "share of attention" in page.locator("#legend").inner_text()
        ranked = heads.sort_values(view)
        ranked = ranked[ranked[view].notna()]
        names = [f"L{row.layer}H{row.head}" for row in ranked.itertuples()]
        low, high = fill(page, names[0]), fill(page, names[-1])
        assert low != high
        page.hover(f"[data-head={names[-1]}]")
        told = f"{ranked[view].iloc[-1]:.3f}"
        assert told in page.locator("#tooltip").inner_text()
        assert told in page.locator("#inspector").inner_text()
    unread = heads[heads["induction"].isna()].iloc[0]
    assert fill(page, f"L{unread['layer']}H{unread['head']}") == "none"
    page.click("#map-section .reading summary")
    assert page.locator("#patterns-reading").is_visible()
    assert opened().locator("#patterns-reading").is_hidden()


def test_the_map_is_saved_as_it_is_colored(opened: Open, studies: dict[str, Study]) -> None:
    page = opened()
    with page.expect_download() as download:
        page.click("#map-svg")
    assert download.value.suggested_filename == "map-role.svg"
    text = Path(download.value.path()).read_text()
    helps = (studies["4x8"].heads["role"] == "facilitating").sum()
    assert text.count(f'fill="{ROLE_COLORS["facilitating"].lower()}"') > helps
    assert f"facilitating ({helps})" in text
    assert "var(" not in text
    assert "oklab" not in text
    choose(page, "ablation")
    with page.expect_download() as download:
        page.click("#map-png")
    assert download.value.suggested_filename == "map-ablation.png"
    pixels = imread(download.value.path(), format="png")
    assert min(pixels.shape[:2]) > 500
    assert pixels[..., :3].std() > 0.02


def test_a_bad_estimate_warns(opened: Open, studies: dict[str, Study], tmp_path: Path) -> None:
    page = opened()
    choose(page, "estimate")
    assert page.locator(".warning").count() == 0
    heads = studies["4x8"].heads.copy()
    heads["estimate_score"] = np.roll(heads["ablation_score"], 11)
    bad = dataclasses.replace(studies["4x8"], heads=heads)
    found = heads["estimate_score"].rank().corr(heads["ablation_score"].rank())
    page = opened(str(save_page(bad, tmp_path / "bad.html")))
    assert page.locator(".warning").count() == 0
    choose(page, "estimate")
    told = page.locator(".warning").inner_text().replace("\u2212", "-")
    assert f"correlation with ablation is only {found:.2f}" in told


def test_standard_errors_are_named(opened: Open) -> None:
    page = opened()
    page.hover("[data-head=L2H5]")
    assert "standard error" in page.locator("#tooltip").inner_text()
    assert "standard error" in page.locator("#inspector").inner_text()

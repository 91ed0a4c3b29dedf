"""The page's table of heads: order, filters, columns, the file it saves."""

from __future__ import annotations

from pathlib import Path

from chg.report import Study
from chg.report.page_data import heads_csv
from support.page import Open, table_names


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


def test_attention_patterns_are_columns(opened: Open, studies: dict[str, Study]) -> None:
    page, heads = opened("patterns"), studies["patterns"].heads
    page.locator("th[data-column=induction] button").press("Enter")
    order = heads.sort_values("induction", ascending=False, kind="stable", na_position="last")
    assert table_names(page) == [f"L{row.layer}H{row.head}" for row in order.itertuples()][:25]
    page.select_option("#limit-column", "induction")
    page.fill("#limit-value", "0.4")
    page.press("#limit-value", "Enter")
    assert len(table_names(page)) == (heads["induction"] >= 0.4).sum() > 0
    assert opened().locator("th[data-column=induction]").count() == 0


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


def test_the_downloaded_table_is_the_csv(opened: Open, studies: dict[str, Study]) -> None:
    page = opened()
    with page.expect_download() as download:
        page.click("#download")
    assert download.value.suggested_filename == "heads.csv"
    assert Path(download.value.path()).read_text() == heads_csv(studies["4x8"])


def test_a_narrow_screen_shows_ablation_and_hints_at_more(opened: Open) -> None:
    page = opened(width=390)
    cell = page.locator("th[data-column=ablation]").bounding_box()
    frame = page.locator("#table-section .scroll").bounding_box()
    assert cell is not None
    assert frame is not None
    assert cell["x"] + cell["width"] <= frame["x"] + frame["width"]
    shadow = "e => getComputedStyle(e).backgroundImage"
    assert "gradient" in page.locator("#table-section .scroll").evaluate(shadow)
    page.locator(".reading summary").click()
    table = page.locator(".reading table").bounding_box()
    assert table is not None
    assert table["x"] + table["width"] <= 390
    assert "std. error" in page.locator("th[data-column=stderr]").inner_text()

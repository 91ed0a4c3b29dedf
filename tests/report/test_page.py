"""The report page in a real browser: what it says and shows, and that it needs no network."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from chg.report import Study
from chg.report.embedded import embed
from chg.report.page import render_page, save_page
from chg.report.page_charts import MAX_GROUPS, chart_sections
from chg.report.palette import ROLE_COLORS, slug
from chg.report.panels import agreement_panels, curve_panels
from chg.results.causal import Checks
from chg.results.redundancy import RedundantPair
from support.example_study import example_study
from support.page import Open

LIMIT = 3_000_000
"""Bytes of the largest page: 80 x 64 heads, ten seeds."""


def test_says_what_was_run_and_what_was_found(opened: Open, studies: dict[str, Study]) -> None:
    page, study = opened(), studies["4x8"]
    assert page.locator("h1").inner_text() == study.manifest["title"]
    assert page.locator(".summary").inner_text() == study.manifest["summary"]
    for role in ROLE_COLORS:
        counted = page.locator(f".count.{slug(role)} b").inner_text().split()[0]
        assert int(counted) == (study.heads["role"] == role).sum()
    assert "0.412" in page.locator("#figures").inner_text()
    for check in study.checks:
        assert check.verdict in page.locator("#checks").inner_text()
    badges = page.locator("#checks .badge").all_inner_texts()
    assert [badge.lstrip("\u2713\u2717 ") for badge in badges] == [
        "holds", "does not hold", "too few rows to say",
    ]  # fmt: skip
    redundant = page.locator("#redundant tbody tr").all_inner_texts()
    assert redundant == ["L3H0 or L3H1\t-0.900\t-0.010 and -0.020\t1e-09"]


def test_says_how_few_heads_do_the_task(opened: Open, studies: dict[str, Study]) -> None:
    page, found = opened(), studies["4x8"].faithfulness
    assert found is not None
    section = page.locator("#faithfulness-section")
    assert found.sentence in section.inner_text()
    rows = section.locator("#faithfulness-table tbody tr")
    assert rows.count() == len(found.curves) == 4
    assert str(found.curves[0].cmd) in rows.nth(0).inner_text()
    assert f"{found.size_reaching(found.curves[0])} of 32" in rows.nth(0).inner_text()


@pytest.mark.parametrize("name", ["4x8", "hybrid", "30x9", "80x64"])
def test_nothing_is_wider_than_the_screen(opened: Open, name: str) -> None:
    page = opened(name, width=1280)
    for width in (1280, 768, 390):
        page.set_viewport_size({"width": width, "height": 1200})
        page.evaluate("new Promise(done => requestAnimationFrame(() => setTimeout(done, 60)))")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.locator("#map svg").bounding_box()["width"] <= width  # type: ignore[index]


def test_charts_are_drawn_for_eyes_and_ears(opened: Open, studies: dict[str, Study]) -> None:
    page = opened(width=390)
    charts = page.locator("svg.chart")
    # Two by layer, three curves of three stages, three checks, two of faithfulness, four matrices,
    # two by strength.
    assert charts.count() == 2 + 9 + 3 + 2 + 4 + 2
    for chart in charts.all():
        assert chart.get_attribute("role") == "img"
        assert chart.get_attribute("aria-label")
        assert chart.locator("desc").text_content()
    height = "e => parseFloat(getComputedStyle(e).fontSize) * e.ownerSVGElement.getScreenCTM().a"
    sizes = page.locator("svg.chart text").evaluate_all(f"all => all.map({height})")
    assert min(sizes) > 7
    ids = page.locator("svg.chart [id]").evaluate_all("all => all.map(e => e.id)")
    assert len(ids) == len(set(ids))
    assert studies["4x8"].checks[0].verdict in (charts.nth(11).locator("desc").text_content() or "")


def test_charts_follow_the_theme(opened: Open) -> None:
    page = opened()
    ink = "e => getComputedStyle(e).fill"
    text = page.locator("#curves svg text").first
    light = text.evaluate(ink)
    page.click("#theme")
    assert text.evaluate(ink) != light
    for color in ("#000000", "black"):
        assert page.locator(f"svg.chart [style*='{color}']").count() == 0


def test_the_same_study_makes_the_same_page(
    studies: dict[str, Study], pages: dict[str, Path]
) -> None:
    page = render_page(studies["hybrid"])
    assert page == pages["hybrid"].read_text()
    assert "<metadata" not in page


def test_a_single_measurement_is_seen(studies: dict[str, Study]) -> None:
    """A stage that stopped early has one held-out figure: a point, not a line through it."""
    metrics = studies["4x8"].metrics.copy()
    metrics.loc[metrics["step"] != 20, "held_out_nll"] = float("nan")
    study = dataclasses.replace(studies["4x8"], metrics=metrics)
    (chart,) = [
        panel for panel in curve_panels(study) if panel.title == "G+, retention: held-out NLL"
    ]
    assert "<use" in embed(chart, "one")
    assert "at update 20 alone" in chart.words


def test_what_no_seed_orders_is_said(studies: dict[str, Study]) -> None:
    study = studies["4x8"]
    nothing = {**study.agreement.spearman, "interference": np.full((3, 3), np.nan)}
    agreement = dataclasses.replace(study.agreement, spearman=nothing)
    panels = agreement_panels(dataclasses.replace(study, agreement=agreement))
    assert "Not defined" in panels[2].words
    drawn = embed(panels[2], "silent")
    assert "all heads score" in drawn
    assert ">42<" not in drawn
    assert "Not defined" not in panels[0].words


def test_many_redundant_pairs_are_a_table(studies: dict[str, Study]) -> None:
    study = studies["4x8"]
    pairs = tuple(
        RedundantPair(((i, 0), (i, 1)), (-0.01, -0.02), -0.9, -0.87, 0.05, 1e-9) for i in range(40)
    )
    many = dataclasses.replace(study, proofs=dataclasses.replace(study.proofs, redundant=pairs))
    section = next(one for one in chart_sections(many) if one.name == "agreement")
    assert section.body.count("<tr>") == 1 + MAX_GROUPS
    assert "10 more pairs" in section.body


def test_no_local_path_is_shown(studies: dict[str, Study]) -> None:
    manifest = studies["hybrid"].manifest
    local = {
        **manifest,
        "model": {**manifest["model"], "model": "/home/someone/models/mine"},
        "data": {**manifest["data"], "name": "/home/someone/rows.jsonl:train[:10]"},
    }
    page = render_page(dataclasses.replace(studies["hybrid"], manifest=local))
    assert "/home" not in page
    assert "rows.jsonl:train[:10]" in page
    assert "mine \u00b7 1f2e3d4c" in page


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
        proofs=Checks(),
        metrics=study.metrics.iloc[:0],
        faithfulness=None,
    )
    page = opened(str(save_page(bare, tmp_path / "bare.html")))
    assert page.locator("h1").inner_text() == "</script><b>a & b"
    assert page.locator(".cell").count() == 6
    for hidden in ("curves", "checks", "faithfulness", "agreement", "path"):
        assert page.locator(f"#{hidden}-section").count() == 0
        assert page.locator(f"nav a[href='#{hidden}-section']").count() == 0
    page.hover("[data-head=L1H1]")
    assert "ablation" not in page.locator("#tooltip").inner_text()


def test_a_page_stays_small(pages: dict[str, Path]) -> None:
    assert pages["4x8"].stat().st_size < 260_000
    assert pages["80x64"].stat().st_size < LIMIT


def test_a_page_asks_for_nothing(studies: dict[str, Study]) -> None:
    page = render_page(studies["hybrid"])
    assert "NaN" not in page.split('id="data">')[1].split("</script>")[0]
    # Parts of a chart refer to others of it, url(#...).
    page = page.replace("http://www.w3.org/2000/svg", "").replace("url(#", "")
    for word in ("src=", "http://", "https://", "localStorage", "@import", "url("):
        assert word not in page, word

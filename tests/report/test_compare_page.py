"""The page of a comparison in a real browser, and its picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

import chg
from chg.errors import ConfigError
from chg.report import Comparison
from chg.report.comparison_folder import save_comparison
from chg.report.comparison_tables import MOST_HEADS
from support.drawn_runs import gates_near_ends
from support.example_runs import study_of_gates
from support.page import Open

NAMES = {"two": ["base", "<tuned> & more"], "three": ["a", "b", "c"]}
SHAPES = {"two": (6, 8), "three": (30, 9)}


@pytest.fixture(scope="module")
def compared() -> dict[str, Comparison]:
    found = {}
    for kind, names in NAMES.items():
        random = np.random.default_rng(4)
        studies = []
        for name in names:
            share = (random.random(SHAPES[kind]) < 0.3).astype(float)
            removal = gates_near_ends(random, share, 3)
            ablation = random.normal(0, 0.3, SHAPES[kind])
            studies.append(study_of_gates(removal, ablation=ablation, title=f"m on {name}"))
        found[kind] = chg.compare(studies, names=names)
    return found


@pytest.fixture(scope="module")
def folders(
    compared: dict[str, Comparison], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("comparisons")
    for name, comparison in compared.items():
        save_comparison(comparison, folder / name)
    return {name: str(folder / name / "compare.html") for name in compared}


def test_says_what_was_found(
    opened: Open, folders: dict[str, str], compared: dict[str, Comparison]
) -> None:
    page, found = opened(folders["two"]), compared["two"]
    (pair,) = found.pairs
    assert page.locator("h1").inner_text() == "base and <tuned> & more"
    differing = int(found.heads[pair.column("differs")].sum())
    assert differing > 5
    assert f"{differing} of 48 heads differ" in page.locator("#findings").inner_text()
    assert page.locator("#runs tbody tr").count() == 2
    assert page.locator("#likeness tbody tr").count() == 3
    assert page.locator(".role-map").count() == 2
    assert page.locator("td", has_text="yes").count() == differing
    cross = page.locator(".cross tbody td").all_inner_texts()
    assert sum(int(cell) for cell in cross if cell != "\u2013") == 48


def test_a_head_is_read_in_every_map(opened: Open, folders: dict[str, str]) -> None:
    page = opened(folders["two"])
    box = page.locator(".role-map g > rect").first.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 2.5 * box["width"] / 8, box["y"] + 1.5 * box["height"] / 6)
    assert page.locator("#readout caption").inner_text() == "L1H2"
    assert page.locator(".cursor[visibility=visible]").count() == 2
    assert page.locator("#readout tbody tr").count() == 2
    page.mouse.move(0, 0)
    assert page.locator(".cursor[visibility=visible]").count() == 0


def test_the_table_is_sorted_by_any_column(opened: Open, folders: dict[str, str]) -> None:
    page = opened(folders["two"])
    table = page.locator("table.sortable")
    sizes = "rows => rows.map(r => Number([...r.cells].at(-1).dataset.value))"
    table.locator("thead button", has_text="ablation: change").click()
    found = table.locator("tbody tr").evaluate_all(sizes)
    assert found == sorted(found, reverse=True)
    assert table.locator("th[aria-sort=descending]").inner_text().startswith("ablation: change")
    table.locator("thead button", has_text="ablation: change").click()
    assert table.locator("tbody tr").evaluate_all(sizes) == sorted(found)
    table.locator("thead button", has_text="head").first.click()
    places = "rows => rows.map(r => Number(r.cells[0].dataset.value))"
    found = table.locator("tbody tr").evaluate_all(places)
    assert found == sorted(found)
    table.locator("thead button", has_text="role, base").click()
    assert table.locator("th[aria-sort=ascending]").count() == 1


@pytest.mark.parametrize("name", NAMES)
def test_fits_narrow_screens_and_dark_ones(
    opened: Open, folders: dict[str, str], name: str
) -> None:
    page = opened(folders[name], width=1280, theme="dark")
    for width in (1280, 768, 390):
        page.set_viewport_size({"width": width, "height": 1200})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    ink = "e => getComputedStyle(e).stroke"
    dark = page.locator(".role-map path.irrelevant").first.evaluate(ink)
    page.click("#theme")
    assert page.locator(".role-map path.irrelevant").first.evaluate(ink) != dark
    ids = page.locator("[id]").evaluate_all("all => all.map(e => e.id)")
    assert len(ids) == len(set(ids))


def test_three_runs_have_matrices_and_a_section_per_pair(
    opened: Open, folders: dict[str, str], compared: dict[str, Comparison]
) -> None:
    page = opened(folders["three"])
    overlap = page.locator("#overlap-matrix tbody td").all_inner_texts()
    assert overlap[0] == f"{compared['three'].runs[0].overlap.mean:.2f}"
    assert len(overlap) == 9
    for index in range(3):
        assert page.locator(f"#pair{index}-section table.sortable").count() == 1
    assert page.locator("nav a").count() == 3 + 3


def test_maps_are_drawn_side_by_side(compared: dict[str, Comparison]) -> None:
    for name, found in compared.items():
        figure = found.plot_roles()
        assert [axes.get_title() for axes in figure.axes if axes.get_visible()] == NAMES[name]
    place = Figure()
    assert found.plot_roles(ax=place.subplots(1, 3), title="") is place
    with pytest.raises(ConfigError, match="plot_roles draws 3 panels"):
        found.plot_roles(ax=Figure().subplots(1, 2))
    five = chg.compare([study_of_gates(np.full((2, 2, 4), 0.9))] * 5)
    assert len([axes for axes in five.plot_roles().axes if axes.get_visible()]) == 5


def test_the_notebook_view_has_every_map(compared: dict[str, Comparison]) -> None:
    shown = compared["two"]._repr_html_()
    assert shown.count("<svg") == 2
    assert "&lt;tuned&gt; &amp; more" in shown
    assert "heads differ" in shown


def test_a_long_table_is_cut(tmp_path: Path) -> None:
    removal = np.full((3, 20, 20), 0.02)
    studies = [study_of_gates(removal), study_of_gates(1 - removal)]
    chg.compare(studies, tmp_path / "out", names=["a", "b"])
    page = (tmp_path / "out" / "compare.html").read_text()
    assert f"{400 - MOST_HEADS} more are in heads.csv." in page
    same = chg.compare(studies[:1] * 2, tmp_path / "same")
    assert "no head differs" in same.sentences[3]
    assert "No head differs, and no role changes." in (tmp_path / "same/compare.html").read_text()

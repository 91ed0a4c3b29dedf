"""The page and the figures of a study whose last column is that of MLP blocks."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes

from chg.report import Study
from chg.report.page_data import heads_csv
from support.page import Open, table_names


def test_mlps_are_called_so_and_are_found(opened: Open, studies: dict[str, Study]) -> None:
    page = opened("mlps", fragment="pins=L1MLP")
    assert page.locator('.cell[data-head="L3MLP"]').count() == 1
    assert page.locator('.cell[data-head="L3H8"]').count() == 0
    labels = page.locator("#map svg text").all_text_contents()
    assert labels[:9] == [*map(str, range(8)), "MLP"]
    assert "L1MLP" in page.locator("#inspector").inner_text()
    for text in ("L3MLP", "3.mlp", "l3mlp"):
        page.fill("#find", text)
        assert table_names(page) == ["L3MLP"]
    page.fill("#find", "mlp")
    assert sorted(table_names(page)) == [f"L{layer}MLP" for layer in range(4)]
    page.fill("#find", "")
    with page.expect_download() as download:
        page.click("#download")
    written = Path(download.value.path())
    assert written.read_text() == heads_csv(studies["mlps"])
    assert (pd.read_csv(written)["head"] == "MLP").sum() == 4


def test_figures_name_the_column(studies: dict[str, Study]) -> None:
    axes: Axes = studies["mlps"].plot_roles().axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == [*map(str, range(8)), "MLP"]
    assert axes.get_xlabel() == "head or MLP"
    assert studies["mlps"].name(0, 8) == "L0MLP"

"""A study's figures, and a study in a notebook."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from chg.errors import ResultsError
from chg.report import save_figures
from chg.report.palette import ROLE_COLORS
from chg.report.study_figures import FIGURES
from support.example_study import example_study


def test_every_figure_as_png_and_pdf(tmp_path: Path) -> None:
    written = save_figures(example_study(3, 4, 2, hybrid=True, path=True), tmp_path / "figures")
    assert {path.name for path in written} == {f"{n}.{e}" for n in FIGURES for e in ("png", "pdf")}
    for path in written:
        assert path.read_bytes()[:4] == (b"%PDF" if path.suffix == ".pdf" else b"\x89PNG")
    assert len(list((tmp_path / "figures").iterdir())) == len(written)


def test_figures_without_their_subject_are_left_out(tmp_path: Path) -> None:
    study = example_study(2, 3, 1)
    bare = dataclasses.replace(study, checks=(), metrics=study.metrics.iloc[:0], manifest={})
    names = {path.stem for path in save_figures(bare, tmp_path)}
    assert names == {"roles", "scores", "gates", "layers"}
    with pytest.raises(ResultsError, match="no path"):
        bare.plot_path()
    with pytest.raises(ResultsError, match="no causal check"):
        bare.plot_checks()


@pytest.mark.parametrize("name", list(FIGURES))
def test_a_study_draws_itself(name: str) -> None:
    study = example_study(3, 4, 2, path=True)
    assert isinstance(getattr(study, f"plot_{name}")(), Figure)


def test_roles_are_drawn_where_they_belong() -> None:
    study = example_study(4, 3, 2, hybrid=True)
    figure = study.plot_roles()
    (image,) = figure.axes[0].images
    codes = np.asarray(image.get_array(), dtype=float)
    for row in study.heads.itertuples():
        assert list(ROLE_COLORS)[int(codes[row.layer, row.head])] == row.role
    assert np.isnan(codes[1]).all()


def test_a_study_shows_itself_in_a_notebook() -> None:
    class Tags(HTMLParser):
        found: list[str]

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002
            self.found.append(tag)

    tags = Tags()
    tags.found = []
    shown = example_study(80, 64, 2, title="<b>m</b> on x")._repr_html_()
    tags.feed(shown)
    assert "script" not in tags.found
    assert "b>m" not in shown.replace("&lt;b&gt;m&lt;", "")
    assert tags.found.count("path") == len(ROLE_COLORS)
    assert len(shown) < 150_000


def test_matplotlib_waits_until_a_figure_is_asked_for() -> None:
    code = "import sys, chg.studies; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

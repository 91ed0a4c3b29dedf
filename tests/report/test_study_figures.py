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

from chg.errors import ConfigError, ResultsError
from chg.report import save_figures
from chg.report.palette import DARK_ROLE_COLORS, ROLE_COLORS
from chg.report.study_figures import FIGURES
from chg.results import ROLES
from chg.results.causal import Checks
from support.example_study import example_study


def test_every_figure_as_png_and_pdf(tmp_path: Path) -> None:
    written = save_figures(example_study(3, 4, 2, hybrid=True, path=True), tmp_path / "figures")
    assert {path.name for path in written} == {f"{n}.{e}" for n in FIGURES for e in ("png", "pdf")}
    for path in written:
        content = path.read_bytes()
        assert content[:4] == (b"%PDF" if path.suffix == ".pdf" else b"\x89PNG")
        assert b"/Type3" not in content, path
    assert len(list((tmp_path / "figures").iterdir())) == len(written)


def test_pictures_are_the_same_bytes_each_time(tmp_path: Path) -> None:
    for folder in ("once", "again"):
        save_figures(example_study(), tmp_path / folder, only=("roles",))
    for ending in ("png", "pdf"):
        once, again = ((tmp_path / f / f"roles.{ending}").read_bytes() for f in ("once", "again"))
        assert once == again
        assert b"CreationDate" not in once


def test_figures_without_their_subject_are_left_out(tmp_path: Path) -> None:
    study = example_study(2, 3, 1)
    bare = dataclasses.replace(
        study, proofs=Checks(), metrics=study.metrics.iloc[:0], manifest={}, faithfulness=None
    )
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


PANELS = {
    "roles": 1,
    "scores": 4,
    "gates": 3,
    "layers": 2,
    "curves": 9,
    "checks": 3,
    "faithfulness": 2,
    "agreement": 4,
    "path": 2,
}


@pytest.mark.parametrize("name", list(FIGURES))
def test_a_picture_goes_where_it_is_told(name: str) -> None:
    study = example_study(3, 4, 2, path=True)
    draw = getattr(study, f"plot_{name}")
    figure = Figure()
    axes = [figure.add_subplot(3, 3, 1 + i) for i in range(PANELS[name])]
    assert draw(ax=axes[0] if PANELS[name] == 1 else axes, title="mine") is figure
    assert all(one.has_data() for one in axes)
    assert "mine" in {figure.get_suptitle(), axes[0].get_title()}
    whole = Figure()
    part = whole.subfigures(1, 2)[1]
    assert draw(ax=part) is whole
    assert len([one for one in part.axes if one.get_label() != "<colorbar>"]) == PANELS[name]
    wrong = figure.subplots(5, 1)
    with pytest.raises(ConfigError, match=f"plot_{name} draws {PANELS[name]} panel.*not 5 axes"):
        draw(ax=wrong)
    with pytest.raises(ConfigError, match="not 'a title'"):
        draw(ax="a title")


def test_a_title_of_one_s_own_and_none() -> None:
    study = example_study(3, 4, 2)
    assert study.plot_roles(title="Mine").axes[0].get_title() == "Mine"
    assert study.plot_scores(title="").get_suptitle() == ""
    assert study.manifest["title"] in study.plot_scores().get_suptitle()


def test_papers_get_fonts_they_accept(tmp_path: Path) -> None:
    figure = example_study(3, 4, 2).plot_roles()
    figure.savefig(tmp_path / "own.pdf")
    assert b"/Type3" not in (tmp_path / "own.pdf").read_bytes()
    figure.savefig(tmp_path / "own.svg")
    assert "<text" in (tmp_path / "own.svg").read_text()


def test_every_role_has_a_color_that_stays_apart() -> None:
    assert list(ROLE_COLORS) == list(DARK_ROLE_COLORS) == list(ROLES)
    assert len(set(ROLE_COLORS.values())) == len(ROLES)


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
    assert 3 + 2 <= tags.found.count("path") <= len(ROLE_COLORS) + 21
    assert len(shown) < 150_000


def test_matplotlib_waits_until_a_figure_is_asked_for() -> None:
    code = "import sys, chg.studies; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

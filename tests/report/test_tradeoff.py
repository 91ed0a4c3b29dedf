"""The picture of what was kept against what was forgotten."""

from __future__ import annotations

from dataclasses import replace

from chg.report.tradeoff import tradeoff
from support.example_contrast import example_run


def test_the_picture_has_a_point_per_fit_and_says_what_it_shows() -> None:
    run = example_run()
    figure = tradeoff([run, replace(run, reversed=True)])
    assert [axes.get_title() for axes in figure.axes] == [
        "as given, held-out rows",
        "reversed, held-out rows",
    ]
    for axes in figure.axes:
        assert len(axes.collections) == len(run.fits) + len(run.curve)
        assert axes.get_xlabel().startswith("forgotten")
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "alpha 0.5",
        "alpha 2",
        "best start of each",
    ]

"""The picture of what was kept against what was forgotten."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from chg.report.canvas import canvas, save
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


def test_a_dollar_in_the_name_of_a_task_is_a_dollar(tmp_path: Path) -> None:
    run = replace(example_run(), held_out_task="a$b_{$c")
    fits = tuple(
        replace(fit, unseen_retain=fit.retain, unseen_forget=fit.forget) for fit in run.fits
    )
    save(tradeoff([replace(run, fits=fits)]), tmp_path / "picture.png")


def test_a_dollar_in_the_name_of_data_or_model_is_a_dollar(tmp_path: Path) -> None:
    place = canvas(None, (1, 1), (3, 3), "picture")
    place.caption(None, "Role of each head\na$b_{$c on $x^")
    save(place.root, tmp_path / "picture.png")

"""The color scale of ablation scores, the same wherever they are drawn."""

from __future__ import annotations

import json

import numpy as np
import pytest

from chg.report.notebook import study_html
from chg.report.page_data import page_data
from chg.report.scale import ColorScale, color_scale
from support.example_study import example_study


def test_an_outlier_does_not_whiten_the_map() -> None:
    usual = np.full(1000, 0.01)
    assert color_scale(np.append(usual, 5.0)).limit == pytest.approx(0.03)
    assert color_scale(np.append(usual, 5.0)).cut == "max"
    assert color_scale(np.append(usual, -5.0)).cut == "min"
    assert color_scale([*usual, 5.0, -5.0]).cut == "both"
    assert color_scale([*usual, 0.02, np.nan]) == ColorScale(pytest.approx(0.02), 0.01, 0.02)
    assert color_scale([*usual, 0.02]).cut == "neither"
    assert color_scale(np.zeros(10)).limit == 1.0
    assert color_scale([np.nan]).limit == 1.0


def test_few_heads_do_not_hide_behind_one() -> None:
    """The built-in model's case: between two heads, the percentile is half the outlier."""
    scores = np.append(np.linspace(-0.466, 0, 31), -3.881)
    assert color_scale(scores).limit == pytest.approx(3 * 0.466)


def test_page_picture_and_notebook_have_one_scale() -> None:
    study = example_study(4, 8, 2)
    study.heads.loc[5, "ablation_score"] = -50.0
    expected = color_scale(study.heads["ablation_score"])
    assert expected.cut == "min"
    assert page_data(study)["scales"]["ablation_score"]["limit"] == expected.limit
    json.dumps(page_data(study), allow_nan=False)
    image = study.plot_scores().axes[3].images[0]
    assert image.get_clim() == (-expected.limit, expected.limit)
    assert f"\u2264 \u2212{expected.limit:.3f}" in study_html(study)

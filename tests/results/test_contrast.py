"""Contrastive results: the curve over alpha, and the file."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from chg.errors import ResultsError
from chg.results.contrast import (
    ContrastResults,
    mean_and_spread,
)
from support.damage import require_a_line
from support.example_contrast import example_run, side_metrics


def test_results_come_back_as_they_were(tmp_path: Path) -> None:
    run = example_run()
    unseen = replace(
        run.fits[0], unseen_retain=side_metrics(1, 2)[0], unseen_forget=side_metrics(1, 2)[1]
    )
    other = replace(run, fits=(unseen,), reversed=True, held_out_task="antonym")
    results = ContrastResults((run, other), {"model": "m"})
    path = results.save(tmp_path / "gates.contrast.json")
    assert ContrastResults.load(path) == results
    assert json.loads(path.read_text())["format_version"] == 1
    for text in ("{", '{"runs": [{}]}', "[]"):
        path.write_text(text)
        with pytest.raises(ResultsError, match="is not a contrastive result"):
            ContrastResults.load(path)
    with pytest.raises(ResultsError, match="does not exist"):
        ContrastResults.load(tmp_path / "none.json")


def test_the_curve_has_the_best_start_of_each_alpha() -> None:
    curve = example_run().curve
    assert [(fit.alpha, fit.start) for fit in curve] == [(0.5, 0), (2.0, 0)]
    assert mean_and_spread([1.0, 3.0]) == (2.0, pytest.approx(2**0.5))
    assert mean_and_spread([1.0]) == (1.0, 0.0)


def test_a_field_of_another_kind_is_named(tmp_path: Path) -> None:
    run = example_run()
    path = ContrastResults((run,), {"model": "m"}).save(tmp_path / "gates.contrast.json")

    def use(results: ContrastResults) -> None:
        assert json.dumps(asdict(results), allow_nan=False).encode()
        for one in results.runs:
            assert one.fits[one.best].sides()
            assert [fit.warnings for fit in one.curve]

    content = json.loads(path.read_text())
    assert require_a_line(path, content, lambda: ContrastResults.load(path), use) > 200

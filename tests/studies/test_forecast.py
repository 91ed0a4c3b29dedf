"""Forecast of a study: what it counts, and what it says of a long one."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import pytest
import torch

import chg.studies.timing as module
from chg import study
from chg.config.study import StudyConfig
from chg.selftest.planted import copy_rows, planted_model
from chg.studies.forecast import LONG, Forecast, duration, forecast, tell


def made(**parts: Any) -> Forecast:
    """A forecast with some times, in seconds."""
    names = ("fits", "measuring", "ablation", "check", "ranking", "patterns")
    times = {**dict.fromkeys(names, 0.0), **parts}
    return Forecast(config=StudyConfig(seeds=10), updates=500, memory=2_500_000_000, **times)


def test_a_long_study_says_how_to_make_it_shorter(caplog: pytest.LogCaptureFixture) -> None:
    long = made(fits=10 * 3600.0, ablation=3600.0)
    assert long.seconds > LONG
    tell(long)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "about 11 h here (fits 10 h, ablation 60 min)" in record.message
    assert "about 2.5 GB of memory" in record.message
    # 2 of 10 seeds and 100 of 500 updates of the fits, 32 of 128 rows of the rest.
    less = duration(36_000 * 0.2 * 0.2 + 3600 / 4)
    assert f"for a first look, about {less}: --seeds 2 --max_steps 100 --eval_rows 32" in (
        record.message
    )
    short = made(fits=60.0)
    assert short.advice is None
    assert "\n" not in long.text + short.text


@pytest.mark.parametrize(
    ("seconds", "name"),
    [(3.2, "4 s"), (89, "89 s"), (600, "10 min"), (7200, "2.0 h"), (1e5, "28 h")],
)
def test_times_are_named_in_a_unit_that_suits_them(seconds: float, name: str) -> None:
    assert duration(seconds) == name


def test_times_grow_with_what_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that ticks once per look at it, so that only the counting is tested."""
    ticks = iter(range(10**6))
    monkeypatch.setattr(module.time, "perf_counter", lambda: float(next(ticks)))
    model, rows, held_out = planted_model(), copy_rows(32), copy_rows(8, 5)
    config = StudyConfig(seeds=2, max_steps=40, initial_steps=80, eval_rows=8)
    small = forecast(model, rows, held_out, config)
    more = forecast(model, rows, held_out, replace(config, seeds=4, check_seeds=0))
    longer = forecast(model, rows, held_out, replace(config, max_steps=80, patterns=False))
    assert more.fits == pytest.approx(2 * small.fits)
    assert more.check == 0 < small.check
    assert longer.patterns == 0 < small.patterns == pytest.approx(more.patterns)
    assert longer.fits == pytest.approx(2 * small.fits)
    assert longer.ablation == small.ablation
    assert small.memory is None or small.memory > 10**7


def test_a_study_says_it_before_it_begins(caplog: pytest.LogCaptureFixture) -> None:
    """And its numbers do not change by that."""
    small: dict[str, Any] = {"seeds": 1, "max_steps": 3, "eval_rows": 4, "check_seeds": 0}
    with caplog.at_level(logging.INFO, logger="chg"):
        told = study(planted_model(), copy_rows(32), **small)
    said = [record.message for record in caplog.records]
    assert said[0].startswith("The model does not do this task")
    assert said[1].startswith("the whole study takes about")
    silent = study(planted_model(), copy_rows(32), show_progress=False, **small)
    for stage, logits in silent.logits.items():
        assert torch.equal(torch.from_numpy(told.logits[stage]), torch.from_numpy(logits))

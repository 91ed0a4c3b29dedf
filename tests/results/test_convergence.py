"""Convergence of fits: what counts as moving, and the sentence about it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from chg.config.study import StudyConfig
from chg.results.convergence import Convergence, read_convergence
from chg.results.stages import STAGES, LogitsOfStudy

NO_HEAD = (0, 3)


def logits(changed: int, shift: float = 0.0) -> LogitsOfStudy:
    """Two seeds of 10 x 10 places; some heads of the second seed's removal were open before."""
    final = torch.full((2, 10, 10), -3.0)
    final[:, NO_HEAD[0], NO_HEAD[1]] = torch.nan
    main = {stage: final.clone() for stage in STAGES}
    earlier = {stage: final - shift for stage in STAGES}
    earlier["removal"][1, 5].view(-1)[:changed] = 3.0
    return LogitsOfStudy(main, {}, earlier)


def test_more_than_two_in_a_hundred_heads_are_moving() -> None:
    config = StudyConfig(seeds=2, max_steps=30)
    still = read_convergence(logits(1), config)
    assert still.moving == 0
    assert still.sentence.startswith("All 6 fits have converged")
    found = read_convergence(logits(2), config)  # of 99
    assert found.moving == 1
    (moving,) = (fit for fit in found.fits if fit.moving)
    assert (moving.stage, moving.seed) == ("removal", 43)
    assert moving.changed == pytest.approx(2 / 99)
    low, high = torch.sigmoid(torch.tensor([-3.0, 3.0])).tolist()
    assert moving.drift == pytest.approx(2 * (low - high) / 99, abs=1e-6)
    assert "1 of 6 fits is still moving" in found.sentence
    assert "chg study --out DIR --resume --max_steps 60" in found.sentence


def test_nothing_is_advised_where_only_starts_are_moving() -> None:
    """More updates of G+ and G- would not change G0."""
    kept = logits(0)
    kept.earlier["initial"][0, 5] = 3.0
    found = read_convergence(kept, StudyConfig(seeds=2))
    assert "1 of 6 fits is still moving (1 of G0)" in found.sentence
    assert found.sentence.endswith("roles are read from those.")
    assert "--resume" not in found.sentence


def test_a_move_within_a_reading_is_no_change() -> None:
    found = read_convergence(logits(0, shift=0.5), StudyConfig(seeds=2))
    assert found.moving == 0
    assert all(fit.changed == 0 for fit in found.fits)
    assert all(fit.drift > 0.01 for fit in found.fits)


def test_gates_that_rest_at_a_threshold_are_not_moving() -> None:
    """Read as between before and as open now, or the other way: the third digit decides."""
    kept = logits(0)
    kept.main["removal"][:] = torch.logit(torch.tensor(0.703))
    kept.earlier["removal"][:] = torch.logit(torch.tensor(0.697))
    assert read_convergence(kept, StudyConfig(seeds=2)).moving == 0


def test_it_is_plain_json_and_reads_back(tmp_path: Path) -> None:
    kept = logits(5)
    kept.save(tmp_path / "gates.safetensors")
    again = LogitsOfStudy.load(tmp_path / "gates.safetensors")
    found = read_convergence(again, StudyConfig(seeds=2))
    content = json.loads(json.dumps(found.to_json()))
    assert content["moving"] == 1
    assert content["of"] == 6
    assert content["sentence"] == found.sentence
    assert Convergence.from_json(content) == found


def test_a_study_that_kept_nothing_earlier(tmp_path: Path) -> None:
    LogitsOfStudy(logits(0).main, {}).save(tmp_path / "gates.safetensors")
    old = LogitsOfStudy.load(tmp_path / "gates.safetensors")
    assert old.earlier == {}
    found = read_convergence(old, StudyConfig(seeds=2))
    assert found.fits == ()
    assert "did not keep" in found.sentence
    assert Convergence.from_json(None).fits == ()

"""Contrastive gates: planted paths are told apart, fits side by side, matched tuples, the files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pytest
import torch

import chg
from chg import fit_contrastive, fit_matched, split_tuples
from chg.data.tokens import TokenRow
from chg.data.tuples import MatchedData, MatchedSplit
from chg.fitting.optimizer import GateOptimizer
from chg.fitting.updates import MicroBatch
from chg.selftest.planted import copy_rows, planted_model
from support.matched import FIRST, SECOND, matched_data, separate_model, separate_sides


def fit_separate(*, model: Any = None, **settings: Any) -> chg.ContrastResult:
    retain, forget = separate_sides()
    return fit_contrastive(
        model or separate_model(),
        retain,
        forget,
        held_out_retain=retain,
        held_out_forget=forget,
        show_progress=False,
        **settings,
    )


def test_one_call_finds_both_directions_in_planted_paths() -> None:
    result = fit_separate(both_directions=True)
    assert result.reversed is not None
    for one, keeps, loses in ((result, FIRST, SECOND), (result.reversed, SECOND, FIRST)):
        assert one.gates.thresholded[keeps] == 1
        assert one.gates.thresholded[loses] == 0
        assert one.retain.accuracy_thresholded == 1
        assert one.forget.nll_thresholded > one.forget.nll_before + 0.5
        assert not one.warnings
        assert one.reversed is None or one is result
    assert result.gates.metadata["dataset"] == result.reversed.gates.metadata["forget_dataset"]
    assert [fit.seed for fit in result.run.fits] == [42, 43, 44, 45]


def test_alpha_weighs_forgetting_against_retaining() -> None:
    """Heads of their own are told apart by any alpha above 0; a head in common goes with alpha."""
    settings: dict[str, Any] = {"alpha": "4,0,0.25", "gate_init": "open", "starts": 1}
    own = fit_separate(**settings, max_steps=100)
    none, little, much = own.run.curve
    assert (none.alpha, little.alpha, much.alpha) == (0, 0.25, 4)
    assert none.forget.kept > 0.95 < none.retain.kept
    for fit in (little, much):
        assert fit.forget.kept < 0.5 < 0.95 < fit.retain.kept
    assert own.best in (little, much)

    shared = fit_separate(model=planted_model({FIRST: 1.0}, reads={}), **settings, max_steps=100)
    none, little, much = shared.run.curve
    assert min(none.retain.kept, little.retain.kept) > 0.95
    assert min(none.forget.kept, little.forget.kept) > 0.95
    assert max(much.retain.kept, much.forget.kept) < 0.5
    assert shared.warnings


def test_it_warns_when_nothing_can_be_forgotten() -> None:
    model, data = planted_model(), copy_rows(32)
    result = fit_contrastive(
        model,
        data,
        data,
        max_steps=10,
        gate_init="open",
        held_out_retain=data,
        held_out_forget=data,
        show_progress=False,
    )
    assert any("nothing was forgotten" in warning for warning in result.warnings)


def test_fits_side_by_side_equal_fits_alone() -> None:
    """Every alpha, direction and start; an update sees all rows, so their order is no matter."""
    model, data = separate_model(), matched_data(8)
    turned = MatchedData("turned", data.forget, data.retain, ())
    settings: dict[str, Any] = {"max_steps": 20, "batch_size": 8, "show_progress": False}
    together = fit_matched(
        model,
        MatchedSplit(data, data),
        alpha="0.5,2",
        both_directions=True,
        starts=2,
        seed=7,
        **settings,
    )
    assert together.reversed is not None
    for side_by_side, rows in ((together, data), (together.reversed, turned)):
        assert len(side_by_side.run.fits) == 4
        for fit, logits in zip(side_by_side.run.fits, side_by_side.logits, strict=True):
            alone = fit_matched(
                model,
                MatchedSplit(rows, rows),
                alpha=fit.alpha,
                starts=1,
                seed=fit.seed,
                **settings,
            )
            assert torch.allclose(alone.logits[0], logits, atol=1e-3), fit
            assert alone.retain.nll_after == pytest.approx(fit.retain.nll_after, abs=1e-3)
            assert alone.forget.nll_after == pytest.approx(fit.forget.nll_after, abs=1e-3)


@pytest.fixture
def fitted_rows(monkeypatch: pytest.MonkeyPatch) -> list[tuple[TokenRow, TokenRow]]:
    """The pairs of rows that fits met, in their order; nothing is optimised."""
    met: list[tuple[TokenRow, TokenRow]] = []

    def collect(
        _optimizer: GateOptimizer, updates: Iterable[Sequence[MicroBatch]], *_: object
    ) -> None:
        for update in updates:
            for micro_batch in update:
                met.extend(zip(*micro_batch.sides, strict=True))

    monkeypatch.setattr(GateOptimizer, "run", collect)
    return met


def test_matched_rows_stay_matched(fitted_rows: list[tuple[TokenRow, TokenRow]]) -> None:
    data = matched_data()
    settings: dict[str, Any] = {"epochs": 3, "batch_size": 5, "show_progress": False}
    fit_matched(separate_model(), MatchedSplit(data, data), **settings)
    assert len(fitted_rows) >= 3 * len(data)
    assert all(retain.ids[0] + 8 == forget.ids[0] for retain, forget in fitted_rows)
    first_epoch = [retain.ids[0] for retain, _ in fitted_rows[: len(data)]]
    assert sorted(first_epoch) == sorted(row.ids[0] for row in data.retain.rows)
    assert first_epoch != [row.ids[0] for row in data.retain.rows]


def test_a_task_held_out_is_in_no_update(fitted_rows: list[tuple[TokenRow, TokenRow]]) -> None:
    tasks = ["even" if i % 2 == 0 else "odd" for i in range(40)]
    data = matched_data(40, tasks)
    for validation in (None, matched_data(24, tasks[:24])):
        fitted_rows.clear()
        split = split_tuples(data, validation, hold_out="odd")
        result = fit_matched(separate_model(), split, epochs=2, show_progress=False)
        assert {row.ids[0] % 2 for pair in fitted_rows for row in pair} == {0}
        assert split.unseen is not None
        assert {row.ids[0] % 2 for row in split.unseen.retain.rows} == {1}
        assert len(split.unseen) == (20 if validation is None else 12)
        assert {row.ids[0] % 2 for row in split.held_out.forget.rows} == {0}
        assert len(split.fitting) + (validation is None) * len(split.held_out) == 20
        assert result.run.held_out_task == result.gates.metadata["held_out_task"] == "odd"
        assert result.best.unseen_retain is not None

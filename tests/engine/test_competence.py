"""Competence: rows after their own prompts, and after those of other rows."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import chg
from chg.data.exchange import exchange_prompts
from chg.data.tokens import TokenData, TokenRow
from chg.engine.competence import competence
from chg.selftest.planted import HELPFUL, copy_rows, planted_model
from support.tiny_models import make_model


def pairs(count: int, targets: int, seed: int) -> TokenData:
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for _ in range(count):
        length = int(torch.randint(2, 6, (1,), generator=generator))
        prompt = torch.randint(10, 30, (length,), generator=generator).tolist()
        target = int(torch.randint(targets, (1,), generator=generator))
        rows.append(TokenRow((*prompt, target), (*[False] * length, True)))
    return TokenData(tuple(rows), "pairs", 0)


@given(st.integers(2, 12), st.integers(1, 4), st.integers(0, 1000))
def test_targets_stay_and_prompts_change_places(count: int, targets: int, seed: int) -> None:
    data = pairs(count, targets, seed)
    own, exchanged = exchange_prompts(data, seed)
    assert own == data
    longest = max(len(row.ids) for row in data.rows)
    assert all(len(row.ids) <= longest for row in exchanged.rows)
    for row, other in zip(data.rows, exchanged.rows, strict=True):
        assert row.ids[-1] == other.ids[-1]
        assert sum(other.scored) == 1
    commonest = Counter(row.ids[-1] for row in data.rows).most_common(1)[0][1]
    if 2 * commonest <= count:  # enough other targets for everyone
        targets_of = {row.ids[:-1]: set() for row in data.rows}
        for row in data.rows:
            targets_of[row.ids[:-1]].add(row.ids[-1])
        for row, other in zip(data.rows, exchanged.rows, strict=True):
            assert targets_of[other.ids[:-1]] != {row.ids[-1]}


def test_text_is_cut_in_the_middle() -> None:
    rows = tuple(TokenRow((1, i, i, i, i, i), (False, *[True] * 5)) for i in (5, 6, 7))
    own, exchanged = exchange_prompts(TokenData(rows, "text", 0))
    assert own.rows[0].scored == (False, False, False, True, True, True)
    for i, row in zip((5, 6, 7), exchanged.rows, strict=True):
        assert row.ids[3:] == (i, i, i)
        assert row.ids[1] != i


def test_a_model_that_does_the_task() -> None:
    model, data = planted_model({**HELPFUL}), copy_rows(64, 3)
    found = competence(model, data)
    assert found.does_task
    assert found.sentence.startswith("The model does this task: 100% of 64 rows right")
    assert found.nll == pytest.approx(chg.evaluate(model, data).nll)
    _, exchanged = exchange_prompts(data)
    assert found.exchanged_nll == pytest.approx(chg.evaluate(model, exchanged).nll)
    assert found.exchanged_nll > found.nll + 1
    assert found.tuning(found.nll - 0.2 * found.gain) == pytest.approx(0.2)


def test_a_model_whose_harmful_head_spoils_half_of_the_answers() -> None:
    """Not clearly better than with other prompts, but some answers are right: a sign."""
    found = competence(planted_model(), copy_rows(64, 3))
    assert not found.does_task
    assert found.shows_task


def test_a_model_that_does_not() -> None:
    model = planted_model({**HELPFUL})
    found = competence(model, exchange_prompts(copy_rows(64, 3))[1])
    assert not found.does_task
    assert not found.shows_task
    assert found.sentence.startswith("The model does not do this task")
    assert "Gates cannot show what it uses for it." in found.sentence


def test_one_row_cannot_say() -> None:
    found = competence(planted_model(), copy_rows(1))
    assert not found.does_task
    assert found.p_value is None
    assert found.sentence.startswith("One row cannot say")


@pytest.mark.parametrize("seed", range(5))
def test_random_models_do_no_task(seed: int) -> None:
    """The test is right on models that know nothing: p below 0.01 in at most 1 of 100."""
    torch.manual_seed(seed)
    found = competence(make_model("llama_grouped"), pairs(64, 8, seed))
    assert not found.does_task


def test_the_models_own_predictions_need_no_right_answers() -> None:
    random = make_model("llama")
    found = chg.study(
        random,
        pairs(24, 3, 0),
        held_out=pairs(12, 3, 1),
        metric="kl",
        seeds=1,
        max_steps=40,
        lr_pushed=0.1,
        check_seeds=1,
        show_progress=False,
    )
    able = found.competence
    assert not able.does_task
    assert able.has_grounds
    assert "right or wrong" in able.sentence
    assert not any("does not do this task" in curve.verdict for curve in found.checks)
    assert found.heads.ablation_score.max() < 1e-6

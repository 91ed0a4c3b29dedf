"""What is no tokenized data, said in one line wherever rows go."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import chg
from chg.errors import DataError, ResultsError
from chg.gating import require_rows_for
from chg.selftest.planted import copy_rows, planted_model

CALLS: dict[str, Callable[[Any, Any], object]] = {
    "study": lambda model, rows: chg.study(model, rows),
    "fit": lambda model, rows: chg.fit_gates(model, rows),
    "prepare": lambda model, rows: require_rows_for(model, rows),  # ablation and evaluation
    "competence": lambda model, rows: chg.competence(model, rows),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("rows", ["builtin:icl", [{"prompt": "a", "target": "b"}]], ids=type)
def test_rows_that_are_not_tokenized_are_refused_in_one_line(call: str, rows: object) -> None:
    with pytest.raises(DataError, match=r"rows are TokenData, as chg\.load_data") as error:
        CALLS[call](planted_model(), rows)
    assert type(rows).__name__ in str(error.value)


def test_what_is_no_study_is_refused_in_one_line() -> None:
    with pytest.raises(ResultsError, match=r"chg\.Study\.load\(folder\) reads; got str"):
        chg.validate(planted_model(), "runs/x", copy_rows(4))  # type: ignore[arg-type]

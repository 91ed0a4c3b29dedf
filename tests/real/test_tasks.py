"""Tasks on a model that was trained on text: tokens of a vocabulary in use, and what it can do."""

from __future__ import annotations

import os
from typing import Any

import pytest

import chg

pytestmark = pytest.mark.real

FORMS = [
    (task.name, config)
    for task in chg.tasks().values()
    for config in (None, *(("instruction",) if task.default else ()))
]


@pytest.fixture(scope="module")
def loaded() -> tuple[Any, Any]:
    """Model and tokenizer, loaded once."""
    return chg.load_model(os.environ["CHG_REAL_MODEL"])


@pytest.mark.parametrize(("name", "config"), FORMS)
@pytest.mark.parametrize("split", ["train", "validation"])
def test_hardly_a_row_is_left_out(
    loaded: tuple[Any, Any], name: str, config: str | None, split: str
) -> None:
    data = chg.load_data(f"task:{name}", loaded[1], config=config, split=split)
    assert data.unmatched <= 0.02 * len(data)
    assert all(len(row.reference_ids or ()) == len(row.ids) for row in data.rows)
    assert all(row.foil is not None and row.scored.index(True) == row.foil[0] for row in data.rows)


@pytest.mark.parametrize(
    ("name", "accuracy"), [("ioi", 0.8), ("antonym", 0.5), ("induction", 0.45)]
)
def test_the_model_does_it(loaded: tuple[Any, Any], name: str, accuracy: float) -> None:
    model, tokenizer = loaded
    data = chg.load_data(f"task:{name}", tokenizer, split="validation", limit=48)
    assert chg.competence(model, data).accuracy >= accuracy
    assert (chg.evaluate(model, data, metric="logit_diff").sums > 0).mean() > 0.9

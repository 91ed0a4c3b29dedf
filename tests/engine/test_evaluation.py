"""Evaluations without a figure: rows that a model cannot read, and models that are no numbers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

import chg
from chg.config import FitConfig
from chg.data import TokenData, TokenRow
from chg.errors import DataError, DivergedError, ModelError
from support.rows import ragged_data
from support.tiny_models import VOCAB, make_model


def fill(name: str, value: float) -> Callable[[nn.Module], None]:
    """Put a value into a weight."""

    def change(model: nn.Module) -> None:
        with torch.no_grad():
            model.get_parameter(name).view(-1)[5] = value

    return change


def overflow(model: nn.Module) -> None:
    """Let float16 overflow."""
    model.half()
    with torch.no_grad():
        model.get_parameter("transformer.h.0.mlp.c_fc.weight").mul_(1e4)
        model.get_parameter("transformer.h.0.mlp.c_proj.weight").mul_(1e4)


def rule_out(model: nn.Module) -> None:
    """Give a token the probability 0."""

    def forward(_: nn.Module, __: object, logits: torch.Tensor) -> torch.Tensor:
        return logits.index_fill(-1, torch.tensor([ragged_data().rows[2].ids[-1]]), -torch.inf)

    model.get_output_embeddings().register_forward_hook(forward)  # type: ignore[operator]


BROKEN = {
    "NaN weight": fill("transformer.h.1.attn.c_attn.weight", torch.nan),
    "infinite weight": fill("transformer.ln_f.weight", torch.inf),
    "NaN embedding": fill("transformer.wpe.weight", torch.nan),
    "overflow": overflow,
    "probability 0": rule_out,
}


@pytest.mark.parametrize("case", sorted(BROKEN))
def test_log_probabilities_that_are_no_numbers_are_no_figures(case: str) -> None:
    model, data = make_model("gpt2"), ragged_data()
    BROKEN[case](model)
    for measure in (
        lambda: chg.evaluate(model, data),
        lambda: chg.ablate_heads(model, data, show_progress=False),
        lambda: chg.ablate_heads(model, data, mode="estimate", show_progress=False),
        lambda: chg.fit_gates(model, data, max_steps=1, held_out=data, show_progress=False),
    ):
        with pytest.raises((ModelError, DivergedError), match="NaN or infinite"):
            measure()


def row(*ids: int, scored: int | None = None) -> TokenRow:
    """A row of which the last token, or as many as asked for, are scored."""
    wanted = 1 if scored is None else scored
    return TokenRow(ids, tuple(i >= len(ids) - wanted for i in range(len(ids))))


GOOD = row(1, 2, 3)
NO_ROWS = {
    "empty": (row(), "row 1 of rows has 0 tokens"),
    "one token": (row(1), "row 1 of rows has 1 tokens"),
    "nothing scored": (row(1, 2, scored=0), "row 1 of rows has no token that is scored"),
    "first token scored": (row(1, 2, scored=2), "row 1 of rows scores its first token"),
    "negative": (row(1, -2, 3), "row 1 of rows has the token id -2"),
    "a shorter mask": (TokenRow((1, 2, 3), (False, True)), "row 1 of rows has 3 tokens, and says"),
    "no reference": (TokenRow((1, 2), (False, True), ()), "has an empty reference row"),
}
UNREADABLE = {
    "too long": (row(*[1] * 65), "row 1 of rows has 65 tokens, and the model reads 64 at most"),
    "no such token": (row(1, VOCAB), f"row 1 of rows has the token id {VOCAB}, and the model has"),
    "no such token in the reference": (
        TokenRow((1, 2), (False, True), (1, VOCAB)),
        f"row 1 of rows has the token id {VOCAB}, and the model has",
    ),
}


@pytest.mark.parametrize("case", sorted(NO_ROWS))
def test_what_is_no_row_is_refused_by_its_number(case: str) -> None:
    wrong, message = NO_ROWS[case]
    with pytest.raises(DataError, match=message):
        TokenData((GOOD, wrong), "rows", 0)


@pytest.mark.parametrize("family", ["gpt2", "llama"])
@pytest.mark.parametrize("case", sorted(UNREADABLE))
def test_a_row_that_the_model_cannot_read_is_refused_by_its_number(family: str, case: str) -> None:
    wrong, message = UNREADABLE[case]
    model, data = make_model(family), TokenData((GOOD, wrong), "rows", 0)
    for measure in (
        lambda: chg.evaluate(model, data),
        lambda: chg.ablate_heads(model, data, show_progress=False),
        lambda: chg.fit_gates(model, data, FitConfig(max_steps=1), show_progress=False),
        lambda: chg.fit_contrastive(
            model, data, data, held_out_retain=data, held_out_forget=data, show_progress=False
        ),
    ):
        with pytest.raises(DataError, match=message):
            measure()

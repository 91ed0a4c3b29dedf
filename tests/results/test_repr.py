"""What a notebook shows of a result that stands alone in a cell is a line or two."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import chg
from chg.data.tuples import MatchedData
from chg.engine.evaluation import SequenceScores
from chg.results.ablation import AblationResult, HeadScore
from chg.results.contrast import ContrastResults
from chg.studies.validation import Validation
from support.example_contrast import example_run
from support.example_study import example_study
from support.rows import ragged_data
from support.tiny_models import make_model

STUDY = example_study(30, 9, seeds=10)
DATA = ragged_data()
SCORES = tuple(HeadScore(i, j, 0.1 * j - 0.01 * i, 0.1) for i in range(30) for j in range(9))


def fitted() -> Any:
    return chg.fit_gates(make_model("llama"), DATA, max_steps=1, show_progress=False)


SHOWN: dict[str, tuple[Callable[[], Any], str]] = {
    "a study": (lambda: STUDY, "<Study of tiny-decoder on antonyms, 10 seeds, 30 layers x 9 heads"),
    "gates": (lambda: chg.HeadGates.from_study(STUDY), "<HeadGates, 30 layers x 9: "),
    "scores": (
        lambda: SequenceScores(np.full(200, -1.0), np.full(200, 0.5), np.full(200, 1.0)),
        "<SequenceScores of 200 sequences, 200 target tokens: NLL 1.0000 nats per token, "
        "accuracy 50.0%>",
    ),
    "an ablation": (
        lambda: AblationResult("individual", "m", "rows", -1.5, 2, 3, 0.1, 30, 9, heads=SCORES),
        "<AblationResult of m on rows, individual, baseline -1.5000 nats per token, 270 scores; "
        "lowest L29H0 -0.2900, highest L0H8 +0.8000>",
    ),
    "contrastive results": (
        lambda: ContrastResults((example_run(), example_run())),
        "<ContrastResults of ?, ? against ?: 2 runs, 8 fits>",
    ),
    "a contrastive run": (
        example_run,
        "<ContrastRun of 4 fits: the best keeps 100% of retain and 6% of forget>",
    ),
    "rows": (lambda: DATA, "<TokenData 'ragged': 5 rows, 35 tokens, "),
    "matched rows": (
        lambda: MatchedData("pairs", DATA, DATA, tuple("aabbb")),
        "<MatchedData 'pairs': 5 tuples, 2 tasks>",
    ),
    "a fit": (fitted, "<FitResult after 1 updates: NLL "),
    "an inspection": (
        lambda: chg.inspect_model(make_model("llama")),
        "<Inspection of a llama: 8 heads in 2 of 2 layers, ",
    ),
    "roles": (
        lambda: chg.classify_heads(torch.zeros(3, 30, 9), torch.zeros(3, 30, 9)),
        "<Taxonomy of 3 x 30 x 9: ",
    ),
    "a reference": (
        lambda: chg.make_reference(make_model("llama"), DATA, "mean"),
        "<Reference by mean, 2 layers>",
    ),
    "a curve": (lambda: STUDY.checks[0], "<CausalCurve of facilitation: "),
}


@pytest.mark.parametrize("what", SHOWN)
def test_a_result_shows_itself_in_a_line_or_two(what: str) -> None:
    make, beginning = SHOWN[what]
    text = repr(make())
    assert text.startswith(beginning)
    assert len(text) <= 250
    assert "\n" not in text


def test_a_validation_shows_what_holds() -> None:
    validation = Validation(STUDY.proofs, STUDY.faithfulness)
    assert repr(validation) == (
        "<Validation: facilitation holds, irrelevance does not hold, interference not tested; "
        "3 correlations, 4 rankings>"
    )

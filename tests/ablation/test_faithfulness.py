"""Faithfulness: known answers, plain passes, intervals under simulation, and bad input."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import chg
from chg.ablation.faithfulness import measure_faithfulness
from chg.config.choices import AblationKind
from chg.engine.evaluation import SequenceScores
from chg.errors import ChgError, GateError
from chg.gating.gates import HeadGates
from chg.results.faithfulness import SHARES, Faithfulness, Ranking
from chg.selftest.planted import HELPFUL, copy_rows, planted_model
from support.rows import ragged_data
from support.tiny_models import HEADS, LAYERS, make_model


def planted_scores() -> Tensor:
    """Scores that put the helpful heads of the planted model first."""
    scores = torch.zeros(2, 4)
    for place, head in enumerate(HELPFUL):
        scores[head] = 2 - place
    return scores


def test_the_planted_heads_alone_do_the_task() -> None:
    model, rows = planted_model(HELPFUL), copy_rows(48, 3)
    found = chg.faithfulness(model, rows, {"planted": planted_scores()}, show_progress=False)
    planted, random = found.curves
    assert (planted.ranking, random.ranking) == ("planted", "random")
    at = list(found.sizes).index(len(HELPFUL))
    assert planted.mean[at] == pytest.approx(1, abs=0.01)
    assert planted.accuracy[0, at] == 1
    assert found.size_reaching(planted) == len(HELPFUL)
    assert planted.cmd.high < random.cmd.low
    assert random.faithfulness.shape == (5, len(found.sizes))


def test_a_model_that_is_worse_with_its_heads_than_without_defines_nothing() -> None:
    """The harmful head outweighs the helpful ones: all together are worth less than nothing."""
    rows = copy_rows(48, 3)
    found = chg.faithfulness(planted_model(), rows, planted_scores(), show_progress=False)
    assert found.gap.value < 0
    assert not found.defined
    assert "not defined" in found.sentence


@pytest.mark.parametrize("kind", ["zero", "mean", "resample"])
@pytest.mark.parametrize("family", ["gpt2", "llama_grouped"])
def test_curves_are_those_of_plain_passes(family: str, kind: AblationKind) -> None:
    """Every size against a pass of the gated model, and the areas against sums by hand."""
    model, data = make_model(family), ragged_data()
    scores = torch.randn(LAYERS, HEADS, generator=torch.Generator().manual_seed(1))
    found = chg.faithfulness(model, data, scores, ablation=kind, seed=5, show_progress=False)
    (given,) = (curve for curve in found.curves if curve.ranking == "given")
    settings = {"ablation": kind, "seed": 5, "show_progress": False}
    means = []
    for size in found.sizes:
        gates = torch.zeros(LAYERS * HEADS)
        gates[scores.flatten().argsort(descending=True)[: int(size)]] = 1
        # The baseline of an ablation is a pass of its own under these gates.
        ablated = chg.ablate_heads(model, data, gates=gates.view(LAYERS, HEADS), **settings)
        means.append(ablated.baseline)
    assert np.allclose(given.metric[0], means, atol=1e-5)
    f = (np.array(means) - means[0]) / (means[-1] - means[0])
    assert np.allclose(given.mean, f, atol=1e-3)
    steps = np.diff(found.sizes / found.sizes[-1])
    for area, heights in ((given.cpr, f), (given.cmd, np.abs(1 - f))):
        trapezoids = steps * (heights[1:] + heights[:-1]) / 2
        assert area.value == pytest.approx(float(trapezoids.sum()), abs=1e-3)


def test_groups_of_heads_are_ranked_too() -> None:
    model, data = make_model("llama_grouped"), ragged_data()
    scores = np.array([[1.0, 0.5], [0.2, 0.1]])
    found = chg.faithfulness(model, data, {"groups": scores}, show_progress=False)
    assert found.heads == 4
    assert [curve.ranking for curve in found.curves if curve.ranking != "random"] == ["groups"]


def test_whatever_orders_heads_is_a_ranking(tmp_path: Path) -> None:
    model, rows = planted_model(HELPFUL), copy_rows(32, 3)
    ablation = chg.ablate_heads(model, rows, show_progress=False)
    gates = HeadGates(planted_scores())
    study = chg.study(
        model, copy_rows(64), held_out=rows, seeds=1, max_steps=20, budget_steps=5,
        out=tmp_path / "run", show_progress=False,
    )  # fmt: skip
    found = chg.faithfulness(
        model,
        rows,
        {
            "ablation": ablation,
            "gates": gates,
            "file": gates.save(tmp_path / "gates.pt"),
            "dict": {"L0H0": 1, "L1H2": 1, **{f"L0H{i}": 0 for i in (1, 2, 3)}},
            "study": tmp_path / "run",
        },
        show_progress=False,
    )
    names = {curve.ranking for curve in found.curves}
    of_study = {"budgeted fit", "facilitation", "ablation", "estimate"}
    assert names == {"ablation", "gates", "file", "dict", "random", *of_study}
    by_name = {curve.ranking: curve for curve in found.curves}
    assert by_name["file"].cmd == by_name["gates"].cmd
    assert by_name["ablation"].mean[list(found.sizes).index(2)] > 0.99
    assert study.faithfulness is not None


@pytest.mark.parametrize(
    ("ranking", "message"),
    [
        (np.zeros((3, 4)), "2 layers x 4; these are 3 x 4"),
        ({"one": np.zeros((2, 4)), "two": np.zeros((3, 4))}, "these are 2 x 4, 3 x 4"),
        (np.array([[1.0, 2, 3, np.nan]] * 2), "no score for some heads"),
        ("missing.pt", "does not exist"),
        ({"x": object()}, "gates are a HeadGates"),
    ],
)
def test_bad_rankings_are_one_line(ranking: object, message: str) -> None:
    with pytest.raises(ChgError, match=message):
        chg.faithfulness(planted_model(), copy_rows(8), ranking, show_progress=False)  # type: ignore[arg-type]


def test_bad_settings_are_one_line() -> None:
    with pytest.raises(ChgError, match="--ablation"):
        chg.faithfulness(planted_model(), copy_rows(8), planted_scores(), ablation="all")
    with pytest.raises(GateError):
        chg.faithfulness(planted_model(), copy_rows(8), HeadGates(torch.zeros(1, 4)))


def test_one_row_gives_no_interval() -> None:
    found = chg.faithfulness(planted_model(), copy_rows(1), planted_scores(), show_progress=False)
    assert not found.defined
    assert np.isnan(found.curves[0].cmd.low)


def simulated(f: np.ndarray, rows: int, noise: float, seed: int) -> Faithfulness:
    """Faithfulness of one ranking on rows drawn around a curve that is known."""
    random = np.random.default_rng(seed)
    all_, none = random.normal(-1.4, 1, rows), random.normal(-12, 2, rows)
    counts = np.ones(rows)

    def evaluate(_: str, matrices: Sequence[Tensor]) -> list[SequenceScores]:
        kept = [int(matrix.sum()) for matrix in matrices]
        scores = []
        for size in kept:
            value = f[list(np.round(np.multiply(SHARES, 100))).index(size)]
            spread = 0 if size in (0, 100) else noise
            sums = none + (all_ - none) * value + random.normal(0, 1, rows) * spread
            scores.append(SequenceScores(sums, counts, counts))
        return scores

    ranking = Ranking("known", np.arange(100.0).reshape(1, 10, 10))
    exists = torch.ones(10, 10, dtype=torch.bool)
    return measure_faithfulness(evaluate, [ranking], exists, ablation="zero", metric="logprob")


AT_1 = "at 1 from the first size on"
SHAPES = {
    "rising to 1, where |1 - f| has its kink": np.minimum(1, np.array(SHARES) / 0.4),
    "above 1 until all are kept": np.where(
        np.array(SHARES) == 1, 1, np.minimum(1.06, np.array(SHARES) / 0.3)
    ),
    AT_1: np.sign(SHARES),
}


@pytest.mark.parametrize("noise", [0.3, 2.0])
@pytest.mark.parametrize("shape", SHAPES)
def test_intervals_hold_as_often_as_they_say(shape: str, noise: float) -> None:
    """In 100 simulations of 48 rows; 88 are 3 standard errors below 95.

    Where every size is on the kink, CMD's interval is known to be too narrow.
    """
    f, share = SHAPES[shape], np.array(SHARES)
    cmd, cpr = np.trapezoid(np.abs(1 - f), share), np.trapezoid(f, share)
    held = np.zeros(3)
    for seed in range(100):
        (curve,) = simulated(f, 48, noise, seed).curves
        held += [
            curve.cmd.low <= cmd <= curve.cmd.high,
            curve.cpr.low <= cpr <= curve.cpr.high,
            curve.low[4] <= f[4] <= curve.high[4],
        ]
    assert (held >= [80 if shape == AT_1 else 88, 88, 88]).all(), held


def test_intervals_narrow_with_rows() -> None:
    widths = []
    for rows in (16, 256):
        (curve,) = simulated(next(iter(SHAPES.values())), rows, 1.0, 0).curves
        widths.append(curve.cmd.high - curve.cmd.low)
    assert widths[1] < widths[0] / 2


def test_heads_and_mlps_are_ranked_together() -> None:
    model, data = make_model("llama_grouped"), ragged_data()
    scores = torch.randn(LAYERS, HEADS + 1, generator=torch.Generator().manual_seed(3))
    found = chg.faithfulness(model, data, {"both": scores}, show_progress=False)
    assert found.heads == LAYERS * (HEADS + 1)
    (both,) = (curve for curve in found.curves if curve.ranking == "both")
    gates = torch.zeros(LAYERS * (HEADS + 1))
    gates[scores.flatten().argsort(descending=True)[: int(found.sizes[4])]] = 1
    plain = chg.evaluate(model, data, gates.view(LAYERS, HEADS + 1))
    assert both.metric[0, 4] == pytest.approx(plain.metric, abs=1e-5)

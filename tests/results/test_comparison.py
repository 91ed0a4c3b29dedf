"""Comparison of runs whose gates are known, and its file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

import chg
from chg.errors import ConfigError, OutputError, ResultsError
from chg.report import Comparison, Study
from chg.report.comparison_page import render_comparison
from support.damage import require_a_line
from support.example_runs import CLOSED, OPEN, study_of_gates

FACILITATING = [(0, 0), (0, 1), (1, 2)]


def gates(
    facilitating: list[tuple[int, int]], seeds: int = 3, shape: tuple[int, int] = (2, 4)
) -> NDArray[np.float64]:
    matrix = np.full((seeds, *shape), CLOSED)
    for layer, head in facilitating:
        matrix[:, layer, head] = OPEN
    # A little spread, of which nobody makes a difference.
    return np.asarray(matrix + 0.004 * np.arange(seeds)[:, None, None])


@pytest.fixture
def two() -> Comparison:
    """Of three facilitating heads one is irrelevant in the other run, where another facilitates."""
    ablation = np.zeros((2, 4))
    ablation[0, 0] = -1.0
    left = study_of_gates(gates(FACILITATING), ablation=ablation, title="m on a")
    right = study_of_gates(gates([(0, 0), (0, 1), (1, 3)]), title="m on b")
    return chg.compare([left, right], names=["a", "b"])


def test_planted_differences_are_found(two: Comparison) -> None:
    (pair,) = two.pairs
    heads = two.heads.set_index(["layer", "head"])
    assert heads.index[heads["differs_a_to_b"]].tolist() == [(1, 2), (1, 3)]
    assert heads.index[heads["changed_a_to_b"]].tolist() == [(1, 2), (1, 3)]
    assert heads.loc[(1, 2), "facilitation_change_a_to_b"] == pytest.approx(CLOSED - OPEN)
    assert heads.loc[(1, 2), "role_a"] == "facilitating"
    assert heads.loc[(1, 2), "role_b"] == "irrelevant"
    assert pair.overlap.mean == pytest.approx(2 / 4)
    assert two.run("a").overlap.mean == 1
    assert two.matrix("overlap").tolist() == [[1, 0.5], [0.5, 1]]
    cross = two.cross_table(pair)
    assert cross.loc["facilitating", "facilitating"] == 2
    assert cross.loc["facilitating", "irrelevant"] == cross.loc["irrelevant", "facilitating"] == 1
    assert cross.to_numpy().sum() == 8
    assert len(two.table) == 3
    assert two.table.loc[2, "overlap"] == pytest.approx(0.5)
    text = " ".join(two.sentences)
    assert "2 of 8 heads differ" in text
    assert "L1H2 facilitation 0.98 to 0.02" in text
    assert "2 heads change their role (1 facilitating to irrelevant, 1 irrelevant to" in text
    assert "2, 2" not in repr(two)
    assert repr(two) == "<Comparison of 2 runs, a, b: 8 heads, of which 2 differ>"


def test_ablation_is_compared_where_it_measures_the_same(two: Comparison) -> None:
    heads = two.heads.set_index(["layer", "head"])
    assert heads.loc[(0, 0), "ablation_change_a_to_b"] == pytest.approx(1)
    assert heads.loc[(0, 0), "ablation_q_a_to_b"] < 1e-6
    assert heads.loc[(0, 1), "ablation_q_a_to_b"] == pytest.approx(1)
    assert "another effect for 1 of 8 heads" in " ".join(two.sentences)
    for field, value in (("metric", "kl"), ("ablation", "mean")):
        other = study_of_gates(gates(FACILITATING), configuration={field: value})
        found = chg.compare([study_of_gates(gates(FACILITATING)), other], names=["a", "b"])
        assert "ablation_change_a_to_b" not in found.heads
        text = " ".join(found.sentences)
        assert "ablation scores are not compared" in text
        assert value in text or "KL" in text


def test_a_run_against_itself_differs_in_no_head() -> None:
    random = np.random.default_rng(0)
    study = study_of_gates(random.random((5, 4, 8)))
    for seeds in (study, study_of_gates(random.random((1, 4, 8)))):
        found = chg.compare([seeds, seeds])
        assert any(sentence.endswith("no head differs.") for sentence in found.sentences)
        assert not found.heads.filter(like="differs").to_numpy().any()
        assert not found.heads.filter(like="changed").to_numpy().any()
    found = chg.compare([study, study])
    (pair,) = found.pairs
    for measure in ("overlap", "correlation"):
        within, between = (getattr(one, measure) for one in (found.runs[0], pair))
        assert between.mean == pytest.approx(within.mean)
        assert between.low == pytest.approx(within.low)


def test_single_seeds_have_no_interval_and_no_test() -> None:
    left, right = (study_of_gates(gates([one], seeds=1)) for one in FACILITATING[:2])
    found = chg.compare([left, right], names=["a", "b"])
    assert found.heads["facilitation_q_a_to_b"].isna().all()
    assert not found.heads["differs_a_to_b"].any()
    assert found.heads["changed_a_to_b"].sum() == 2
    assert found.table[["overlap_low", "overlap_high", "overlap_p"]].isna().all(axis=None)
    text = " ".join(found.sentences)
    assert "takes 3 seeds or more" in text
    assert "with one seed in each there is nothing to hold that against" in text


def test_undecided_heads_change_no_role() -> None:
    unsure = gates(FACILITATING)
    unsure[0, 0, 0] = CLOSED
    found = chg.compare([study_of_gates(unsure), study_of_gates(gates([(0, 1), (1, 2)]))])
    assert not found.heads.filter(like="changed").to_numpy().any()
    assert "no role changes; 1 is undecided in a run" in " ".join(found.sentences)


def test_what_runs_differ_in_is_said() -> None:
    base = study_of_gates(gates(FACILITATING), model={"model": "m", "weights": "aa"})
    tuned = {"model": "/folder/m-tuned", "weights": "bb", "adapters": ["lora"]}
    settings = {"recipe": "paper", "metric": "logit_diff"}
    other = study_of_gates(gates(FACILITATING), model=tuned, configuration=settings)
    text = " ".join(chg.compare([base, other], names=["base", "tuned"]).sentences)
    assert "The models differ: base m, weights aa; tuned m-tuned, adapter lora, weights bb." in text
    assert "The recipes differ" in text
    assert "The metrics differ" in text
    assert "/folder" not in text


def test_three_runs_are_compared_in_pairs() -> None:
    runs = [study_of_gates(gates([one])) for one in FACILITATING]
    found = chg.compare(runs, names=["a", "b", "c"])
    assert [(pair.left, pair.right) for pair in found.pairs] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert (found.matrix("overlap") == np.eye(3)).all()
    assert found.heads["differs_b_to_c"].sum() == 2


def test_names_are_distinct_and_may_be_given() -> None:
    study = study_of_gates(gates(FACILITATING), title="m on a")
    found = chg.compare([study, study, study])
    assert [run.name for run in found.runs] == ["m on a", "m on a (2)", "m on a (3)"]
    for names in (["a"], ["a", "a"], ["a", " "], ["a", "b\n"], ["a", "b", "c"]):
        with pytest.raises(ConfigError, match="--names must"):
            chg.compare([study, study], names=names)


def test_what_cannot_be_compared() -> None:
    study = study_of_gates(gates(FACILITATING))
    other = study_of_gates(gates(FACILITATING, shape=(3, 4)))
    with pytest.raises(ConfigError, match=r"2 layers x 4 heads, two has 3 layers x 4 heads"):
        chg.compare([study, other], names=["one", "two"])
    groups = study_of_gates(gates(FACILITATING), unit="kv_group")
    with pytest.raises(ConfigError, match=r"2 layers x 4 heads, .* 4 key-value groups"):
        chg.compare([study, groups])
    holes = gates(FACILITATING)
    holes[:, 1, 0] = np.nan
    with pytest.raises(ConfigError, match="not in the same places"):
        chg.compare([study, study_of_gates(holes, holes)])
    for few in ([], [study]):
        with pytest.raises(ConfigError, match="two runs or more"):
            chg.compare(few)


def test_the_folder_is_written_once_and_read_back(two: Comparison, tmp_path: Path) -> None:
    studies: list[Study] = [study_of_gates(gates([one])) for one in FACILITATING]
    out = tmp_path / "out"
    made = chg.compare(studies, out, names=["a", "b", "c"])
    names = {"compare.html", "heads.csv", "comparison.json", "roles.png", "roles.pdf"}
    assert {file.name for file in out.iterdir()} == names
    table = pd.read_csv(out / "heads.csv")
    assert list(table) == list(made.heads)
    for place in (out, out / "comparison.json"):
        read = Comparison.load(place)
        assert read.runs == made.runs
        assert repr(read.pairs) == repr(made.pairs)
        pd.testing.assert_frame_equal(read.heads, made.heads)
        assert read.sentences == made.sentences
    assert two.save(tmp_path / "two.json").is_file()
    with pytest.raises(OutputError, match="never overwritten"):
        chg.compare(studies, out)
    with pytest.raises(ResultsError, match="does not exist"):
        Comparison.load(tmp_path / "none")


def test_a_damaged_comparison(two: Comparison, tmp_path: Path) -> None:
    path = two.save(tmp_path / "comparison.json")
    content = json.loads(path.read_text())

    def use(found: Comparison) -> None:
        assert found.sentences
        assert repr(found)
        assert not found.table.empty
        assert render_comparison(found)

    assert require_a_line(path, content, lambda: Comparison.load(path), use) > 300
    for wrong, message in (
        ({"pairs": []}, "pairs are not those of its runs"),
        ({"heads": {**content["heads"], "layer": [0]}}, "different lengths"),
        ({"heads": {**content["heads"], "more": content["heads"]["layer"]}}, "no column"),
    ):
        damaged: dict[str, Any] = {**content, **wrong}
        path.write_text(json.dumps(damaged))
        with pytest.raises(ResultsError, match=message):
            Comparison.load(path)

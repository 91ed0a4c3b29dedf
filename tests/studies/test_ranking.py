"""The ranking of a study: a budgeted fit, measured beside the others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import chg
from chg import Study
from chg.engine.engine import open_engine
from chg.errors import ConfigError, ResultsError
from chg.export import mib_importances
from chg.fitting.budgeted import spread_ranks
from chg.fitting.ranking import BudgetedFit
from chg.selftest.planted import HELPFUL, copy_rows, planted_model
from chg.studies.ranking import settings_of
from support.tiny_models import make_model

SMALL: dict[str, Any] = {"seeds": 2, "max_steps": 40, "eval_rows": 32, "show_progress": False}


@pytest.fixture(scope="module")
def ranked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of the planted model without its harmful head."""
    folder = tmp_path_factory.mktemp("ranked") / "run"
    rows = {"held_out": copy_rows(40, 5), "out": folder}
    chg.study(planted_model(HELPFUL), copy_rows(64), budget_steps=30, **rows, **SMALL)
    return folder


def test_a_study_finds_the_fewest_heads_that_do_the_task(ranked: Path) -> None:
    study = Study.load(ranked)
    found = study.faithfulness
    assert found is not None
    assert found.rows == 32
    best = found.curves[0]
    assert found.size_reaching(best) == len(HELPFUL)
    assert {curve.ranking for curve in found.curves} == {
        "budgeted fit", "facilitation", "ablation", "estimate", "random",
    }  # fmt: skip
    first = np.argsort(-study.ranking, axis=None)[: len(HELPFUL)]
    assert {(int(i) // 4, int(i) % 4) for i in first} == set(HELPFUL)
    assert any("the first 2 of 8 heads" in sentence for sentence in study.findings)
    assert (ranked / "figures" / "faithfulness.png").is_file()
    assert "How few heads do the task" in (ranked / "report.html").read_text(encoding="utf-8")


def test_the_fit_of_a_study_is_the_fit_alone(ranked: Path) -> None:
    study = Study.load(ranked)
    config = chg.StudyConfig(**study.manifest["configuration"])
    start = spread_ranks(torch.from_numpy(study.logits["removal"]).mean(0))
    with open_engine(planted_model(HELPFUL)) as engine:
        alone = BudgetedFit(engine, copy_rows(64), settings_of(config), start)
        scores = alone.run(lambda _: None)
    assert np.allclose(study.matrix("budgeted_score"), scores, atol=1e-6)


def test_costs_are_counted_in_passes_of_a_row(ranked: Path) -> None:
    study = Study.load(ranked)
    assert study.faithfulness is not None
    costs = {curve.ranking: curve.row_passes for curve in study.faithfulness.curves}
    fits = 3 * 8 * len(study.metrics)
    assert costs == {
        "facilitation": fits,
        "budgeted fit": fits + 3 * 8 * 30,
        "ablation": 8 * 32,
        "estimate": 3 * 4 * 32,
        "random": 0,
    }


def test_without_the_fit_nothing_is_said_of_sizes() -> None:
    study = chg.study(
        planted_model(), copy_rows(64), held_out=copy_rows(32, 5), budget_steps=0, **SMALL
    )
    assert study.faithfulness is None
    assert "budgeted_score" not in study.heads
    assert study.ranking_name == "facilitation"
    with pytest.raises(ResultsError, match="--budget_steps 0"):
        study.plot_faithfulness()
    with pytest.raises(ConfigError, match="--budget_steps must be 0 or more"):
        chg.StudyConfig(budget_steps=-1)


def test_a_model_that_heads_harm_has_no_faithfulness() -> None:
    study = chg.study(
        planted_model(), copy_rows(64), held_out=copy_rows(32, 5), budget_steps=5, **SMALL
    )
    assert study.faithfulness is not None
    assert not study.faithfulness.defined
    assert study.ranking_name == "facilitation"
    assert any("not defined" in sentence for sentence in study.findings)
    nodes = mib_importances(study)["nodes"]
    assert all(node["in_graph"] for node in nodes.values())


def test_the_benchmark_gets_a_score_per_head_and_keeps_the_rest(ranked: Path) -> None:
    study = Study.load(ranked)
    content = mib_importances(study)
    assert content["cfg"] == {
        "n_layers": 2, "n_heads": 4, "parallel_attn_mlp": False, "d_model": 64,
    }  # fmt: skip
    assert content["edges"] == {}
    nodes = content["nodes"]
    heads = {f"a{layer}.h{head}" for layer in range(2) for head in range(4)}
    assert nodes.keys() == {"input", "m0", "m1", *heads}
    scores = [node["score"] for name, node in nodes.items() if name in heads]
    assert sorted(scores) == [(i + 1) / 8 for i in range(8)]
    for layer, head in HELPFUL:
        assert nodes[f"a{layer}.h{head}"]["score"] > 0.8
        assert nodes[f"a{layer}.h{head}"]["in_graph"]
    assert sum(node["in_graph"] for node in nodes.values()) == len(HELPFUL) + 3
    assert all("score" not in nodes[name] for name in ("input", "m0", "m1"))


def test_mlps_with_gates_are_ranked_among_the_heads() -> None:
    study = chg.study(
        make_model("gpt2"), copy_rows(32), unit="head_and_mlp", budget_steps=3, **SMALL
    )
    assert study.faithfulness is not None
    assert study.faithfulness.heads == 2 * (4 + 1)
    content = mib_importances(study)
    assert content["cfg"]["n_heads"] == 4
    scores = {name: node["score"] for name, node in content["nodes"].items() if "score" in node}
    assert scores.keys() == content["nodes"].keys() - {"input"}
    assert sorted(scores.values()) == [(i + 1) / 10 for i in range(10)]


def test_groups_of_heads_are_no_nodes_of_the_benchmark() -> None:
    data = copy_rows(32)
    study = chg.study(make_model("llama_grouped"), data, unit="kv_group", budget_steps=3, **SMALL)
    assert study.faithfulness is not None
    with pytest.raises(ResultsError, match="groups"):
        mib_importances(study)

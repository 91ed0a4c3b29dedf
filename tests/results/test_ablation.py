"""Ablation results on disk."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from chg import AblationResult, ablate_heads
from chg.config import AnalysisConfig
from chg.errors import ResultsError
from chg.report.analysis import read_analysis
from chg.report.summary import summary_text
from support.damage import require_a_line
from support.rows import ragged_data
from support.tiny_models import make_model


@pytest.mark.parametrize("mode", ["individual", "sequential"])
def test_results_file(tmp_path: Path, mode: str) -> None:
    result = ablate_heads(make_model("gpt2"), ragged_data(), mode=mode, show_progress=False)
    path = result.save(tmp_path / "results.json")
    content = json.loads(path.read_text())
    common = {
        "format_version",
        "mode",
        "model",
        "dataset",
        "metric",
        "ablation",
        "method",
        "baseline",
        "num_sequences",
        "num_target_tokens",
        "num_layers",
        "num_heads",
        "unit",
        "seconds",
        "metadata",
    }
    own = {"heads"} if mode == "individual" else {"order", "steps"}
    assert set(content) == common | own
    assert content["metric"] == "mean_target_logprob"
    if mode == "individual":
        assert set(content["heads"][0]) == {"layer", "head", "score", "stderr", "exact"}
    else:
        assert content["order"] == "forward"
        assert {"step", "layer", "head", "metric", "score", "delta"} <= set(content["steps"][0])
    assert AblationResult.load(path) == result


def test_bad_results_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    with pytest.raises(ResultsError, match="does not exist"):
        AblationResult.load(path)
    for text in ("", "[]", "{}", '{"mode": "individual"}', "\x00\x01"):
        path.write_text(text)
        with pytest.raises(ResultsError):
            AblationResult.load(path)


@pytest.mark.parametrize("mode", ["individual", "sequential"])
def test_a_field_of_another_kind_is_named(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "results.json"
    ablate_heads(make_model("gpt2"), ragged_data(), mode=mode, show_progress=False).save(path)
    content = json.loads(path.read_text())
    content["metadata"] = {"gates": None, "versions": {"torch": "2"}}

    def use(result: AblationResult) -> None:
        assert json.dumps(asdict(result), allow_nan=False).encode()
        analysis = read_analysis(AnalysisConfig(results=str(path)))
        assert summary_text(analysis, 5)
        assert analysis.title

    assert require_a_line(path, content, lambda: AblationResult.load(path), use) > 200


def test_messages_say_what_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    ablate_heads(make_model("gpt2"), ragged_data(), show_progress=False).save(path)
    content = json.loads(path.read_text())
    wrongs = {
        "heads[0].layer is 'one', not a whole number": ("layer", "one"),
        "heads[0].layer is 7, in a model of 2 layers x 4": ("layer", 7),
        "heads[0].score is nothing, not a number": ("score", None),
        "heads[0].stderr is a list, not a number": ("stderr", []),
        "heads[0].extra is no field of it": ("extra", 1),
    }
    for message, (field, value) in wrongs.items():
        heads = [{**content["heads"][0], field: value}, *content["heads"][1:]]
        path.write_text(json.dumps({**content, "heads": heads}))
        with pytest.raises(ResultsError) as caught:
            AblationResult.load(path)
        assert str(caught.value).endswith(message) or "L7H0" in str(caught.value)

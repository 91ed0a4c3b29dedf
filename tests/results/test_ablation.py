"""Ablation results on disk."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from chg import AblationResult, ablate_heads
from chg.errors import ResultsError
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

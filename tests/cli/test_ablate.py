"""`chg ablate`: screening, and what the report says of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chg import HeadGates, Study
from chg.cli.main import main


def test_screening_is_confirmed_and_the_report_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    data = ["--model", "builtin:tiny", "--dataset", "builtin:aba", "--limit", "16"]
    screened = ["--screening", "--confirm", "2", "--output", "r.json", "--quiet"]
    assert main(["ablate", *data, *screened]) == 0
    assert "4 of 32 heads confirmed exactly" in capsys.readouterr().out
    assert json.loads(Path("r.json").read_text())["method"] == "screening"
    assert main(["analyze", "--results", "r.json"]) == 0
    assert "screened in bfloat16" in Path("analysis_output/summary_report.txt").read_text()
    header = Path("analysis_output/head_rankings.csv").read_text().splitlines()[0]
    assert header == "rank,layer,head,score,stderr,gate,exact"


def test_a_studys_folder_goes_where_a_gate_file_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("chg.report.folder.save_figures", lambda *_: [])
    rows = ["--model", "builtin:tiny", "--dataset", "builtin:aba", "--limit", "20", "--quiet"]
    short = ["--seeds", "2", "--max_steps", "2", "--check_seeds", "0", "--eval_rows", "4"]
    assert main(["study", *rows, *short, "--out", "run"]) == 0
    found = Study.load("run")

    def of_results(*flags: str) -> dict[str, Any]:
        assert main(["ablate", *rows, "--limit", "4", "--output", "r.json", *flags]) == 0
        metadata: dict[str, Any] = json.loads(Path("r.json").read_text())["metadata"]
        return metadata["gates"]

    gates = of_results("--gates", "run", "--stage", "removal", "--seed", "43")
    assert (gates["stage"], gates["seed"], gates["thresholded"]) == ("removal", 43, True)
    assert gates["weights"] == found.manifest["model"]["weights"]
    gates = of_results("--gates", "run/gates.safetensors", "--no_thresholded")
    assert (gates["stage"], gates["seed"], gates.get("thresholded")) == ("removal", 42, None)

    assert main(["fit", *rows, "--init", "run", "--max_steps", "1", "--lr", "1e-6"]) == 0
    started = HeadGates.load("gates.pt").logits
    assert np.allclose(started, found.logits["initial"][0], atol=1e-4)

    capsys.readouterr()
    for flags, message in (
        (["--gates", "run", "--seed", "7"], "the study has no seed 7, only 42, 43"),
        (["--gates", "gates.pt", "--stage", "removal"], "gates.pt is none"),
        (["--gates", "."], "holds no study"),
    ):
        assert main(["ablate", *rows, *flags]) == 2
        error = capsys.readouterr().err.strip()
        assert message in error
        assert "\n" not in error

"""`chg ablate`: screening, and what the report says of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

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

"""Reference rows and corrupted prompts on the command line."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

import chg
from chg import HeadGates
from chg.cli.main import main
from chg.data.tokens import TokenData, TokenRow
from support.by_hand import one_head_out, stand_ins, sums_by_hand
from support.precision import bound
from support.rows import write_rows


def test_corrupted_prompts_end_to_end(
    hub: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.chdir(tmp_path)
    prompts = ["The cat sat on the", "The river is called", "Some heads copy what", "In the year"]
    corrupted = ["The mat sat on the", "The city is called", "Others copy what", "In 1900 the"]
    targets = ["mat", "projection", "came", "city"]
    columns = zip(prompts, targets, corrupted, strict=True)
    write_rows(
        Path("rows.jsonl"),
        [{"prompt": one, "target": two, "corrupted": three} for one, two, three in columns],
    )
    flags = ["--model", str(hub / "gpt2"), "--dataset", "rows.jsonl", "--quiet"]
    resample = ["ablate", *flags, "--ablation", "resample", "--dtype", "float64"]
    assert main([*resample, "--output", "named.json", "--corrupted_column", "corrupted"]) == 0
    assert main([*resample, "--output", "found.json"]) == 0
    assert "replaced by its output in another row" in capsys.readouterr().out
    named, result = (chg.AblationResult.load(name) for name in ("named.json", "found.json"))
    assert np.array_equal(named.scores, result.scores)

    model, tokenizer = chg.load_model(str(hub / "gpt2"), dtype="float64")
    pairs = list(zip(prompts, targets, strict=True))
    other = list(zip(corrupted, targets, strict=True))
    clean, counterfactual = (
        chg.tokenize_pairs(p, tokenizer, max_length=99) for p in (pairs, other)
    )
    rows = [
        TokenRow(row.ids, row.scored, reference.ids)
        for row, reference in zip(clean.rows, counterfactual.rows, strict=True)
    ]
    shifted = sum(len(row.ids) != len(row.reference_ids or ()) for row in rows)
    assert 0 < shifted < len(rows)
    assert f"in {shifted} rows the target begins at another position" in caplog.text
    data = TokenData(tuple(rows), "by hand", 0)
    expected = stand_ins(model, data, "resample", False)
    sums = [sums_by_hand(model, data, expected, gates).sum() for gates in one_head_out(model)]
    by_head = (np.array(sums[1:]) - sums[0]) / data.num_target_tokens
    assert np.abs(result.scores.ravel() - by_head).max() < bound(model)
    assert result.metadata["data_fingerprint"] == data.fingerprint

    assert main(["analyze", "--results", "found.json", "--output_dir", "report"]) == 0
    assert "not by zero" in Path("report/summary_report.txt").read_text()
    assert ",resample" in Path("report/head_rankings.csv").read_text()


def test_the_command_line(
    hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    logging.getLogger("chg").setLevel(logging.WARNING)
    rows = [{"prompt": "A gate", "target": "of"}, {"prompt": "The cat", "target": "sat"}]
    write_rows(Path("rows.jsonl"), rows)
    write_rows(Path("text.jsonl"), [{"text": "The river is called the Seine."}] * 3)
    flags = ["--model", str(hub / "gpt2"), "--dataset", "rows.jsonl", "--quiet"]
    mean = ["--ablation", "mean", "--reference_dataset", "text.jsonl"]
    assert main(["ablate", *flags, *mean, "--per_position"]) == 0
    result = chg.AblationResult.load("ablation_results.json")
    assert (result.ablation, result.metadata["reference_dataset"]) == ("mean", "text.jsonl:train")
    assert main(["fit", *flags, *mean, "--max_steps", "2"]) == 0
    gates = HeadGates.load("gates.pt")
    assert gates.metadata["reference_dataset"] == "text.jsonl:train"
    capsys.readouterr()
    for arguments, message in (
        (["--corrupted_column", "x"], "--corrupted_column belongs to --ablation resample"),
        (["--ablation", "resample", "--corrupted_column", "x"], "no column 'x'"),
        (["--ablation", "mean", "--reference_dataset", "no.jsonl"], "no.jsonl does not exist"),
        (["--ablation", "average"], "--ablation"),
        (["--reference_dataset", "text.jsonl"], "mean or resample, not zero"),
    ):
        assert main(["ablate", *flags, *arguments]) == 2
        assert message in capsys.readouterr().err
    text = ["--dataset", "text.jsonl", "--ablation", "resample", "--corrupted_column", "x"]
    assert main(["ablate", *flags, *text]) == 2
    assert "plain text" in capsys.readouterr().err

"""Weights by flags: a study's settings load the same ones again, and others are refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import chg
from chg.cli.main import main
from support.adapters import save_adapter
from support.local_hub import SENTENCES

SHORT = ["--seeds=1", "--max_steps=2", "--batch_size=2", "--eval_rows=2", "--check_seeds=0"]


@pytest.fixture
def rows(tmp_path: Path) -> str:
    """A file of a few rows."""
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in SENTENCES))
    return str(path)


def test_a_study_loads_its_adapter_again_and_refuses_another(
    tmp_path: Path,
    rows: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("chg.report.folder.save_figures", lambda *_: [])
    base, _ = chg.load_model("builtin:tiny")
    for seed in (1, 2):
        save_adapter(base, tmp_path / f"adapter{seed}", "builtin:tiny", seed=seed)
    out, given = str(tmp_path / "run"), ["--model", "builtin:tiny", "--dataset", rows, *SHORT]
    first, second = ([*given, "--adapter", str(tmp_path / f"adapter{i}")] for i in (1, 2))
    assert main(["study", *first, "--out", out]) == 0
    described = json.loads((tmp_path / "run" / "manifest.json").read_text())["model"]
    assert described["adapters"] == ["default"]

    assert main(["study", "--out", out, "--resume", "--max_steps", "3", "--quiet"]) == 0
    assert main(["validate", out, "--quiet", "--seeds", "1"]) == 0
    capsys.readouterr()
    # `--resume` knows the settings of the folder, so what takes the adapter out is another file.
    for other in (given, second):
        settings = tmp_path / "other.yaml"
        settings.write_text("{}")
        arguments = [*other, "--config", str(settings), "--max_steps", "3"]
        assert main(["study", *arguments, "--out", out, "--resume"]) == 2
        refused = capsys.readouterr().err
        assert f"of other weights ({described['weights']} + adapter default there" in refused


def test_gates_of_the_base_are_taken_by_an_adapted_model_with_a_warning(
    tmp_path: Path, rows: str, caplog: pytest.LogCaptureFixture
) -> None:
    base, _ = chg.load_model("builtin:tiny")
    save_adapter(base, tmp_path / "adapter", "builtin:tiny")
    gates, common = str(tmp_path / "gates.pt"), ["--dataset", rows, "--model", "builtin:tiny"]
    assert main(["fit", *common, "--max_steps", "1", "--out", gates]) == 0
    result = str(tmp_path / "result.json")
    ablate = ["ablate", *common, "--gates", gates, "--output", result]
    assert main([*ablate, "--adapter", str(tmp_path / "adapter")]) == 0
    assert "the gates were fitted on other weights" in caplog.text
    assert "+ adapter default now" in caplog.text


def test_a_gguf_file_is_inspected(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("gguf")
    from support.tiny_gguf import make_gguf

    path = str(tmp_path / "a.gguf")
    make_gguf(Path(path))
    assert main(["inspect", path]) == 0
    told = capsys.readouterr()
    assert f"model         {path} (llama)\nquantization  dequantised from Q4_1\n" in told.out
    assert "groups        2 per layer" in told.out
    assert "de-quantizing" not in told.err, "no bar of the reader's"
    assert main(["inspect", path, "--memory", "--length", "32"]) == 0
    (tmp_path / "b.gguf").write_bytes(b"no such thing")
    capsys.readouterr()
    assert main(["inspect", str(tmp_path / "b.gguf")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_an_adapter_is_inspected(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_adapter(chg.load_model("builtin:tiny")[0], tmp_path / "adapter", "builtin:tiny")
    assert main(["inspect", "builtin:tiny", "--adapter", str(tmp_path / "adapter")]) == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert first == f"model         builtin:tiny (gpt2), with adapter {tmp_path / 'adapter'}"
    arguments = ["--memory", "--quantize", "4bit", "--length", "32"]
    assert main(["inspect", "builtin:tiny", *arguments]) == 0
    assert "weights       4 MiB before they are quantised to 4bit" in capsys.readouterr().out

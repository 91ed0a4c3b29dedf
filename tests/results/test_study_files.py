"""The files of a study, damaged: every one is named in a line, with the field."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

from chg import Study, study
from chg.errors import ResultsError
from chg.report.page import render_page
from chg.results.causal import Checks, read_checks
from chg.results.study_files import (
    HEADS_COLUMNS,
    METRICS_COLUMNS,
    SOME_HEADS,
    SOME_METRICS,
    read_heads,
    read_manifest,
    read_metrics,
)
from chg.selftest.planted import copy_rows, planted_model
from support.damage import require_a_line


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study") / "run"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("chg.report.folder.save_figures", lambda *_: [])
        study(
            planted_model(), copy_rows(32), held_out=copy_rows(16, 5), out=folder, seeds=2,
            max_steps=2, lambda_path="0.05", check_points=2, check_seeds=1, show_progress=False,
        )  # fmt: skip
    return folder


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    for file in whole.iterdir():
        if file.is_file() and file.suffix != ".html":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


def test_the_schemas_are_those_of_the_files(folder: Path) -> None:
    """A new column or field needs its line in the schema."""
    found = Study.load(folder)
    assert set(found.heads) == {*HEADS_COLUMNS, *SOME_HEADS}
    assert set(found.metrics) == {*METRICS_COLUMNS, *SOME_METRICS}
    assert found.manifest["seeds"] == [42, 43]
    assert render_page(found)


def test_a_damaged_manifest(folder: Path) -> None:
    path = folder / "manifest.json"
    content = json.loads(path.read_text())
    kept = ("seeds", "lambda_reg", "unit", "ablation", "max_steps")
    content["configuration"] = {name: content["configuration"][name] for name in kept}

    def use(manifest: dict[str, Any]) -> None:
        assert json.dumps(manifest).encode()

    assert require_a_line(path, content, lambda: read_manifest(folder), use) > 300
    content["configuration"]["closed_below"] = 0.9
    path.write_text(json.dumps(content))
    with pytest.raises(ResultsError, match=r"configuration cannot be: --closed_below and"):
        Study.load(folder)
    path.write_bytes((folder / "manifest.json").read_bytes()[:40])
    with pytest.raises(ResultsError, match="manifest as `chg study` writes it"):
        Study.load(folder)


def test_damaged_checks(folder: Path) -> None:
    path = folder / "checks.json"
    content = json.loads(path.read_text())
    content["redundant"] = [
        {"heads": [[0, 1], [1, 2]], "alone": [-0.1, 0], "together": -1, "excess": -0.9,
         "stderr": None, "q": None}
    ]  # fmt: skip
    content["correlations"][1]["spearman"] = None

    def use(checks: Checks) -> None:
        assert all(curve.difference.shape[1] == len(curve.counts) for curve in checks.curves)
        assert all(isinstance(pair.proven, bool) for pair in checks.redundant)

    assert require_a_line(path, content, lambda: read_checks(path), use) > 300
    content["curves"][0]["difference"] = [[0.1]]
    path.write_text(json.dumps(content))
    with pytest.raises(ResultsError, match=r"curves\[0\]\.difference is \(1, 1\)"):
        Study.load(folder)


def test_damaged_metrics(folder: Path) -> None:
    path = folder / "metrics.jsonl"
    first, *rest = path.read_text().splitlines()
    for change in ("null", '{"stage": ', "[" * 100_000, "\x00"):
        path.write_text("\n".join([first, change, *rest]))
        with pytest.raises(ResultsError, match=r"metrics\.jsonl is damaged: line 2"):
            Study.load(folder)
    for name in json.loads(first):
        for wrong in ("text", None, {}, [1], 10**40):
            path.write_text(json.dumps({**json.loads(first), name: wrong}))
            if wrong is None and name in ("loss", "lambda_reg", "lr", "held_out_nll"):
                continue
            with pytest.raises(ResultsError, match=f"column {name} "):
                read_metrics(path)


HEADS: dict[str, Callable[[pd.DataFrame], Any]] = {
    "has no column role": lambda table: table.drop(columns="role"),
    "column role holds 'odd'": lambda table: table.assign(role="odd"),
    "column layer holds 9": lambda table: table.assign(layer=9),
    "column head holds -1": lambda table: table.assign(head=-1),
    "column layer does not hold whole numbers": lambda table: table.assign(layer="0"),
    "column ablation_score does not hold numbers": lambda table: table.assign(ablation_score="x"),
    "column ablation_stderr does not": lambda table: table.assign(ablation_stderr=float("inf")),
    "column lambda_low does not hold": lambda table: table.assign(lambda_low="x"),
    "column any_facilitating does not hold true": lambda table: table.assign(any_facilitating=3),
    "column disagrees does not hold text": lambda table: table.assign(disagrees=1),
}


@pytest.mark.parametrize("message", HEADS)
def test_a_damaged_table_of_heads(message: str, folder: Path) -> None:
    path = folder / "heads.parquet"
    HEADS[message](pd.read_parquet(path)).to_parquet(path)
    with pytest.raises(ResultsError, match=message):
        read_heads(path, (2, 4))


def test_a_table_that_is_none(folder: Path) -> None:
    path = folder / "heads.parquet"
    whole = path.read_bytes()
    for content in (b"", b"PAR1", whole[:200], whole[:-5], whole[:-9] + b"\xff" * 9):
        path.write_bytes(content)
        with pytest.raises(ResultsError, match=r"heads\.parquet is missing or damaged"):
            Study.load(folder)


GATES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "retention is missing": lambda t: t.pop("retention"),
    "path_removal is missing": lambda t: t.pop("path_removal"),
    "not 3 dimensions": lambda t: t.update(initial=t["initial"][0]),
    "removal is .* of torch.float64": lambda t: t.update(removal=t["removal"].double()),
    r"removal is \(2, 2, 3\), initial": lambda t: t.update(removal=t["removal"][..., :3].clone()),
    "retention holds logits that are NaN": lambda t: t["retention"][0, 0, 0].fill_(torch.nan),
    "initial holds logits that are NaN": lambda t: [v.fill_(torch.nan) for v in t.values()],
    "removal holds logits that are .* infinite": lambda t: t["removal"].fill_(torch.inf),
    "path_retention is .* not 4": lambda t: t.update(path_retention=torch.zeros(2, 2, 4)),
    "of 1 seeds at 2 strengths, its manifest of 2 at 2": lambda t: t.update(
        {name: value[..., :1, :, :].clone() for name, value in t.items()}
    ),
}


@pytest.mark.parametrize("message", GATES)
def test_damaged_gates(message: str, folder: Path) -> None:
    tensors = load_file(folder / "gates.safetensors")
    GATES[message](tensors)
    save_file(tensors, folder / "gates.safetensors")
    with pytest.raises(ResultsError, match=message):
        Study.load(folder)

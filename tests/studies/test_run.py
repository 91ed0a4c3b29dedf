"""A study: many fits at once, going on after a kill, what it finds, and what it leaves behind."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

import chg
from chg import Study, StudyConfig, study, validate
from chg.config.fitting import FitConfig
from chg.engine.engine import open_engine
from chg.errors import ChgError, ConfigError, OutputError, ResultsError
from chg.fitting.losses import metric_loss
from chg.fitting.optimizer import GateOptimizer, OptimizerOptions, Schedule, starting_logits
from chg.fitting.updates import update_batches
from chg.gating.gate_wrapper import gated
from chg.results.roles import SCORES
from chg.selftest.planted import (
    DUPLICATES,
    HELPFUL,
    ROLES,
    SINGLE,
    copy_rows,
    planted_model,
    redundant_model,
)
from chg.studies.folder import StudyFolder
from support.rows import ragged_data
from support.tiny_models import make_model

SMALL_FITS: dict[str, Any] = {"seeds": 3, "max_steps": 60, "eval_rows": 32}
SMALL: dict[str, Any] = {**SMALL_FITS, "show_progress": False}


def test_a_fit_of_a_study_is_the_fit_alone() -> None:
    """Bit for bit on a CPU: same start, same rows, with the study's own step sizes."""
    model, data = planted_model(), copy_rows(64)
    settings = StudyConfig(early_stop=False, initial_steps=60, **SMALL_FITS)
    found = study(model, data, settings, held_out=copy_rows(16, 5), show_progress=False)
    config = FitConfig(batch_size=settings.batch_size)
    for k, seed in enumerate(found.seeds):
        start = starting_logits(FitConfig(seed=seed), (2, 4))
        with open_engine(model) as engine:
            options = OptimizerOptions(
                schedule=Schedule(settings.lr, fall=settings.recipe_settings.fall)
            )
            alone = GateOptimizer(engine, start, config, options)
            rows = update_batches(data, config, 60)
            alone.run(rows, 60, metric_loss(engine, data.pad_id), lambda _: None)
        assert np.array_equal(found.logits["initial"][k], alone.logits_of_heads()[0])


def test_planted_roles_with_uncertainty(tmp_path: Path) -> None:
    model, data = planted_model(), copy_rows(128)
    found = study(
        model, data, held_out=copy_rows(48, 9), seeds=3, max_steps=150, lambda_path="0.05",
        out=tmp_path / "run", show_progress=False,
    )  # fmt: skip
    table = found.heads.set_index(["layer", "head"])
    assert {head: table.role[head] for head in ROLES} == ROLES
    for head, role in ROLES.items():
        row = table.loc[head]
        assert row[f"share_{role}"] == 1
        assert row.seeds_in_role == 3
        assert 0.4 < row.role_low < row.role_high == 1
        assert row.disagrees == ""
        for score in SCORES:
            for low, high in (("min", "max"), ("low", "high")):
                ends = [row[f"{score}_{end}"] for end in (low, "mean", high)]
                assert (np.diff(ends) > -1e-9).all()
        assert bool(row.any_facilitating) == bool(row.always_facilitating)
        assert bool(row.always_facilitating) == (role == "facilitating")
        assert row.lambda_low == 0.05
        assert row.lambda_high == 0.1
        if role != "irrelevant":
            assert math.copysign(1, row.ablation_score) == (-1 if head in HELPFUL else 1)
    assert [curve.holds for curve in found.checks] == [True] * 3
    assert found.checks[0].difference[:, 0].max() < -0.1
    assert found.checks[2].difference[:, 0].min() > 0.1
    negative = {one.score: one.spearman for one in found.correlations if "G = 1" in one.effect}
    assert negative["facilitation"] < -0.5
    assert found.path is not None
    assert found.path.lambdas == (0.05, 0.1)
    _check_folder(tmp_path / "run", found)


def _check_folder(folder: Path, found: Study) -> None:
    """Everything is there, and reads back the same."""
    names = {path.name for path in folder.iterdir()}
    assert names == {
        "config.yaml", "manifest.json", "gates.safetensors", "metrics.jsonl", "heads.csv",
        "heads.parquet", "checks.json", "faithfulness.json", "report.html", "figures", "continue",
    }  # fmt: skip
    again = Study.load(folder)
    assert again.seeds == found.seeds
    assert all(np.array_equal(again.logits[s], found.logits[s]) for s in found.logits)
    pd.testing.assert_frame_equal(again.heads, found.heads)
    from_csv = pd.read_csv(folder / "heads.csv")
    assert list(from_csv.columns) == list(found.heads.columns)
    assert np.allclose(from_csv.ablation_score, found.heads.ablation_score, rtol=1e-4)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert {line["stage"] for line in lines} == {"initial", "retention", "removal"}
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["status"] == "complete"
    assert manifest["configuration"]["lambda_reg"] == 0.1
    assert manifest["data"]["fingerprint"] == copy_rows(128).fingerprint
    assert {"torch", "transformers", "chg"} <= manifest["versions"].keys()
    assert (folder / "figures" / "roles.pdf").read_bytes()[:4] == b"%PDF"


def test_exact_duplicates_are_any_and_never_always_facilitating() -> None:
    """Either suffices: no individual effect, closed in some seeds, listed together."""
    found = study(
        redundant_model(), copy_rows(128), held_out=copy_rows(32, 9), max_steps=200,
        check_seeds=1, check_points=3, show_progress=False,
    )  # fmt: skip
    table = found.heads.set_index(["layer", "head"])
    single = abs(table.ablation_score[SINGLE])
    for head in DUPLICATES:
        assert table.any_facilitating[head]
        assert not table.always_facilitating[head]
        assert abs(table.ablation_score[head]) < 0.01 * single
        assert table.role[head] == "undecided"
    assert table.always_facilitating[SINGLE]
    assert [pair.heads for pair in found.redundant] == [DUPLICATES]
    assert len(found.agreement.circuits) == 2
    assert found.checks[-1].holds is None
    assert found.checks[-1].verdict.startswith("no head is interfering")


def test_causal_curves_against_plain_passes() -> None:
    """The difference at every step, from full forward passes under toggled gates."""
    model, rows = planted_model(), copy_rows(32, 3)
    found = study(model, copy_rows(64), held_out=rows, check_seeds=1, **SMALL)
    for curve in found.checks:
        gates = torch.sigmoid(torch.from_numpy(found.logits["retention"][0]))
        for step, count in enumerate(curve.counts):
            metrics = []
            for value in (0.0, 1.0):
                toggled = gates.clone()
                for layer, head in curve.heads[0][:count]:
                    toggled[layer, head] = value
                metrics.append(_plain_metric(model, rows, toggled))
            assert metrics[0] - metrics[1] == pytest.approx(curve.difference[0, step], abs=1e-5)
        order = [found.scores[curve.score][0][head] for head in curve.heads[0]]
        assert order == sorted(order, reverse=True)


def _plain_metric(model: Any, rows: chg.TokenData, gates: Tensor) -> float:
    values = []
    with gated(model, gates), torch.no_grad():
        for row in rows.rows:
            logprobs = model(torch.tensor([row.ids])).logits[0].log_softmax(-1)
            values += [logprobs[i - 1, t] for i, t in enumerate(row.ids) if row.scored[i]]
    return float(torch.stack(values).mean())


WRITTEN = ("gates.safetensors", "metrics.jsonl", "heads.csv", "checks.json", "faithfulness.json")
"""Files that do not depend on when a study was made."""


class Killed(BaseException):
    """What a killed process feels like."""


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study") / "whole"
    _run(folder)
    return folder


def _run(folder: Path, **settings: Any) -> Study:
    """A small study in a folder, without pictures, which take longer than all the rest."""
    settings = {**SMALL, "checkpoint_every": 10, "eval_rows": 40, **settings}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("chg.report.folder.save_figures", lambda *_: [])
        return study(
            planted_model(), copy_rows(64), held_out=copy_rows(40, 5), out=folder, **settings
        )


@pytest.mark.parametrize(
    ("name", "time_of_death"),
    [
        ("initial.42.44", 2),
        ("initial.42.44.done", 1),
        ("pushed.42.44", 1),
        ("pushed.42.44.fall", 1),
        ("pushed.42.44", 4),
        ("pushed.42.44.done", 1),
        ("ranking", 3),
        ("ablation", 1),
        ("check_irrelevance", 1),
        ("stages", 2),
        ("faithfulness", 1),
    ],
)
def test_a_study_goes_on_to_the_same_numbers(
    name: str,
    time_of_death: int,
    uninterrupted: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Killed right after something was put aside, and with lines in the metrics after it.

    Once with damage to what was put aside long before.
    """
    keep, times = StudyFolder.keep, 0

    def keep_and_die(self: StudyFolder, what: str, *args: Any, **notes: Any) -> None:
        nonlocal times
        keep(self, what, *args, **notes)
        times += what == name
        if times == time_of_death:
            if what.startswith(("initial", "pushed")) and not what.endswith("done"):
                with self.metrics.open("a") as file:
                    file.write('{"stage": "half a li')
            raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(StudyFolder, "keep", keep_and_die)
        with pytest.raises(Killed):
            _run(tmp_path / "run")
    with pytest.raises(ResultsError, match="not finished"):
        Study.load(tmp_path / "run")
    if name == "stages":  # one of the fits that the evaluations are of
        (path,) = (tmp_path / "run" / "continue").glob("pushed.*.done.safetensors")
        path.write_bytes(path.read_bytes()[:-3] + b"\x00\x00\xff")
    _run(tmp_path / "run", resume=True)
    for file in WRITTEN:
        assert (tmp_path / "run" / file).read_bytes() == (uninterrupted / file).read_bytes(), file


def test_nothing_is_overwritten_and_only_the_same_goes_on(
    uninterrupted: Path, tmp_path: Path
) -> None:
    with pytest.raises(OutputError, match="never overwritten"):
        _run(uninterrupted)
    with pytest.raises(ConfigError, match=r"lambda_reg 0\.1 there, 0\.2 now"):
        _run(uninterrupted, resume=True, lambda_reg=0.2)
    # Killed at its very first file.
    (tmp_path / "first").mkdir()
    (tmp_path / "first" / ".manifest.7.partial.json").write_text("{")
    StudyFolder(tmp_path / "first", {"command": None, "configuration": {}}, resume=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="holds no study"):
        _run(tmp_path / "other", resume=True)
    before = (uninterrupted / "heads.csv").stat().st_mtime_ns
    assert _run(uninterrupted, resume=True).seeds == (42, 43, 44)
    assert (uninterrupted / "heads.csv").stat().st_mtime_ns == before


def test_validation_of_another_model_is_refused(uninterrupted: Path) -> None:
    found = Study.load(uninterrupted)
    with pytest.raises(ChgError, match="another model"):
        validate(chg.load_model("builtin:tiny")[0], found, copy_rows(8), show_progress=False)
    checked = validate(planted_model(), found, copy_rows(40, 5), show_progress=False)
    for own, again in zip(found.checks, checked.checks, strict=True):
        assert np.allclose(own.difference, again.difference, atol=1e-6)


@pytest.mark.parametrize("kind", ["mean", "resample"])
def test_validation_replaces_heads_as_the_study_did(kind: str) -> None:
    """The same rows, drawn and averaged as in the study, give the study's own check."""
    model, data, held_out = make_model("llama_grouped"), ragged_data(), ragged_data(3)
    small = {**SMALL, "seeds": 2, "max_steps": 4, "check_points": 2, "check_seeds": 1}
    finished = study(model, data, held_out=held_out, ablation=kind, **small)
    reference = data if kind == "mean" else None
    checked = validate(
        model, finished, held_out, reference=reference, seeds=1, points=2, show_progress=False
    )
    for before, again in zip(finished.checks, checked.checks, strict=True):
        assert np.allclose(before.difference, again.difference, atol=1e-6)
    zeroed = replace(finished, manifest=zero_ablation(finished.manifest))
    other = validate(model, zeroed, held_out, seeds=1, points=2, show_progress=False)
    assert not np.allclose(other.checks[0].difference, checked.checks[0].difference, atol=1e-6)
    if kind == "mean":
        with pytest.raises(ConfigError, match="give those rows as reference"):
            validate(model, finished, held_out, show_progress=False)


def zero_ablation(manifest: Mapping[str, Any]) -> dict[str, Any]:
    return {**manifest, "configuration": {**manifest["configuration"], "ablation": "zero"}}


def test_a_study_under_means_and_of_groups() -> None:
    model, data = make_model("llama_grouped"), ragged_data()
    small = {**SMALL, "seeds": 2, "max_steps": 4, "check_points": 2}
    for kind in ("mean", "resample"):
        found = study(model, data, held_out=ragged_data(2), ablation=kind, **small)
        assert np.isfinite(found.heads.ablation_score).all()
    groups = study(model, data, held_out=ragged_data(2), unit="kv_group", **small)
    assert groups.name(0, 1) == "L0G1"
    assert len(groups.heads) < len(found.heads)


def test_a_single_seed_has_no_interval() -> None:
    found = study(planted_model(), copy_rows(32), **{**SMALL, "seeds": 1, "max_steps": 5})
    assert found.heads.facilitation_low.isna().all()
    assert found.manifest["held_out"]["rows"] == 3
    assert "<svg" in found._repr_html_()

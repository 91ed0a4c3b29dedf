"""Fits, contrasts, ablation and studies of gates on heads and MLPs."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import chg
from chg import HeadGates, ablate_heads, evaluate_gates, fit_contrastive, fit_gates
from chg.config.choices import AblationKind, AblationMode
from chg.engine import inspect_model
from chg.errors import ArchitectureError, ConfigError, GateError
from chg.gating.gate_wrapper import gated
from chg.models.architectures import find_head_sites
from support.by_hand import KINDS
from support.decoders import build
from support.mlps import fold_all, one_out
from support.odd_model import Odd
from support.precision import bound
from support.rows import plain_sums, ragged_data
from support.tiny_models import HEADS, LAYERS, compute_in_float64, make_model

SHAPE = (LAYERS, HEADS + 1)
QUIET: dict[str, Any] = {"unit": "head_and_mlp", "show_progress": False}


@pytest.fixture(scope="module")
def tiny() -> tuple[nn.Module, chg.TokenData]:
    model, tokenizer = chg.load_model("builtin:tiny")
    return model, chg.load_data("builtin:icl", tokenizer).sample(48, seed=0)


def test_a_fit_moves_gates_of_mlps_and_its_file_says_so(tmp_path: Path) -> None:
    model, data = make_model("gpt2"), ragged_data()
    fit = fit_gates(model, data, held_out=ragged_data(2), max_steps=30, lambda_reg=5.0, **QUIET)
    assert fit.gates.logits.shape == SHAPE
    assert (fit.gates.values[:, -1] < 0.5).all()
    loaded = HeadGates.load(fit.gates.save(tmp_path / "gates.pt"))
    assert loaded.metadata["unit"] == "head_and_mlp"
    again = fit_gates(model, data, init=loaded, max_steps=2, lambda_reg=-5.0, **QUIET)
    assert (again.gates.values > loaded.values).all()
    with gated(model, loaded):
        expected = plain_sums(model, data)
    (scores,) = evaluate_gates(model, data, [loaded])
    assert np.abs(scores.logprob_sums - expected).max() < 1e-3


@pytest.mark.parametrize("family", ["lfm2_moe", "zamba2"])
def test_layers_without_heads_have_gates_on_their_mlps(family: str, tmp_path: Path) -> None:
    model, data = build(family), ragged_data()
    exists = find_head_sites(model).existing("head_and_mlp")
    fit = fit_gates(model, data, max_steps=3, **QUIET)
    gates = HeadGates.load(fit.gates.save(tmp_path / "gates.safetensors"))
    assert torch.equal(gates.exists, exists)
    result = ablate_heads(model, data, gates=gates, **QUIET)
    assert len(result.heads) == int(exists.sum())


@pytest.mark.parametrize("mode", ["individual", "sequential", "estimate"])
def test_ablation_of_heads_and_mlps(mode: AblationMode) -> None:
    model, data = compute_in_float64(make_model("llama_grouped")), ragged_data()
    result = ablate_heads(model, data, mode=mode, **QUIET)
    assert result.shape == SHAPE
    assert result.name(1, HEADS) == "L1MLP"
    assert result.name(1, HEADS - 1) == f"L1H{HEADS - 1}"
    if mode == "individual":
        matrices = one_out(model)
        sums = np.array([plain_sums(fold_all(model, gates), data).sum() for gates in matrices])
        scores = (sums[1:] - sums[0]) / data.num_target_tokens
        assert np.abs(result.scores.ravel() - scores).max() < bound(model)
    again = chg.AblationResult.load(result.save(Path(str(mode) + ".json")))
    assert again.name(0, HEADS) == "L0MLP"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(("kind", "per_position"), KINDS)
def test_references(kind: AblationKind, per_position: bool) -> None:
    model, data = make_model("gpt2"), ragged_data()
    settings: dict[str, Any] = {"ablation": kind, "per_position": per_position, **QUIET}
    fit = fit_gates(model, data, max_steps=3, **settings)
    result = ablate_heads(model, data, gates=fit.gates, **settings)
    zero = ablate_heads(model, data, gates=fit.gates, **QUIET)
    assert not np.allclose(result.scores[:, -1], zero.scores[:, -1])


def test_a_contrast() -> None:
    model, retain, forget = make_model("gpt2"), ragged_data(6), ragged_data(4)
    sides = {"held_out_retain": retain, "held_out_forget": forget}
    run = fit_contrastive(model, retain, forget, max_steps=3, **sides, **QUIET)
    assert run.gates.logits.shape == SHAPE
    assert run.gates.metadata["unit"] == "head_and_mlp"


def test_a_study(tiny: tuple[nn.Module, chg.TokenData], tmp_path: Path) -> None:
    model, data = tiny
    settings: dict[str, Any] = {"seeds": 2, "max_steps": 12, "check_points": 3, **QUIET}
    study = chg.study(model, data, out=tmp_path / "run", **settings)
    layers, columns = find_head_sites(model).unit_shape("head_and_mlp")
    assert study.roles.shape[1:] == (layers, columns)
    assert study.name(2, columns - 1) == "L2MLP"
    assert "heads and MLPs" in repr(study)
    table = study.heads[study.heads["head"] == columns - 1]
    assert len(table) == layers
    assert table["induction"].isna().all()
    assert table["ablation_score"].abs().max() > 0.01
    csv = pd.read_csv(tmp_path / "run" / "heads.csv")
    assert (csv["head"] == "MLP").sum() == layers
    loaded = chg.Study.load(tmp_path / "run")
    assert loaded.unit == "head_and_mlp"
    gates = HeadGates.from_study(loaded)
    assert gates.metadata["unit"] == "head_and_mlp"
    with gated(model, tmp_path / "run") as handle:
        assert handle.unit == "head_and_mlp"
    validation = chg.validate(model, loaded, data.sample(16, seed=1), show_progress=False)
    assert validation.checks
    assert chg.study(model, data, out=tmp_path / "run", resume=True, **settings).unit == study.unit


def test_attention_patterns_have_none_for_mlps() -> None:
    model = make_model("llama_grouped")
    heads, both = (
        chg.attention_patterns(model, unit=unit, show_progress=False)
        for unit in ("head", "head_and_mlp")
    )
    for name, scores in both.by_name.items():
        assert np.array_equal(scores[:, :-1], heads.by_name[name])
        assert np.isnan(scores[:, -1]).all()


def test_inspection() -> None:
    model = make_model("opt")
    assert inspect_model(model).mlps == ()
    paths = [f"model.decoder.layers.{i}.fc2" for i in range(LAYERS)]
    assert list(inspect_model(model, "head_and_mlp").mlps) == paths


def test_bad_input(monkeypatch: pytest.MonkeyPatch) -> None:
    model, data = make_model("gpt2"), ragged_data()
    heads = fit_gates(model, data, max_steps=1, show_progress=False).gates
    with pytest.raises(GateError, match=r"2 layers x 5 heads and MLPs.*--unit"):
        ablate_heads(model, data, gates=heads, **QUIET)
    with pytest.raises(ConfigError, match="the model has 2 x 5"):
        fit_gates(model, data, init=heads, max_steps=1, **QUIET)
    monkeypatch.setattr("chg.models.layouts._registered", {})
    odd = Odd()
    chg.register_architecture("odd", attention="mixer", projection="out")
    for job in (fit_gates, ablate_heads, chg.study):
        with pytest.raises(ArchitectureError, match="were not found"):
            job(odd, ragged_data(40), **QUIET)  # type: ignore[operator]
    assert dataclasses.asdict(heads)["metadata"]["unit"] == "head"

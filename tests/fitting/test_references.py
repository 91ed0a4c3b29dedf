"""Fits under means and other rows."""

from __future__ import annotations

from pathlib import Path

import pytest

from chg import HeadGates, fit_contrastive, fit_gates
from chg.config.choices import AblationKind
from chg.selftest.planted import copy_rows, planted_model
from support.by_hand import KINDS


@pytest.mark.parametrize(("kind", "per_position"), KINDS)
def test_fits_and_contrasts(kind: AblationKind, per_position: bool, tmp_path: Path) -> None:
    model, data = planted_model(), copy_rows(32)
    held_out = copy_rows(8, seed=1)
    settings = {"ablation": kind, "per_position": per_position, "show_progress": False}
    fit = fit_gates(model, data, held_out=held_out, max_steps=40, lambda_reg=0.1, **settings)
    gates = HeadGates.load(fit.gates.save(tmp_path / "gates.pt"))
    assert gates.metadata["ablation"] == kind
    values = gates.values
    assert values[0, 0] > values[0, 1]  # a head that helps, and one that does nothing
    assert fit.nll_gated_held_out is not None
    sides = {"held_out_retain": held_out, "held_out_forget": held_out}
    contrast = fit_contrastive(model, data, copy_rows(32, seed=2), max_steps=3, **sides, **settings)
    assert contrast.gates.metadata["ablation"] == kind

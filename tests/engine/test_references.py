"""Heads replaced by their mean or by another row's, against one plain hooked pass per row."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from chg.config.choices import AblationKind
from chg.data.batches import collate, pack_shared_prefix
from chg.data.partners import with_partners
from chg.engine import open_engine
from chg.engine.capabilities import capabilities
from chg.engine.evaluation import evaluate_gates
from chg.gating.gate_wrapper import gated
from chg.gating.references import make_reference
from chg.models.architectures import find_head_sites
from support.by_hand import KINDS, make_any, one_head_out, rows_for, stand_ins, sums_by_hand
from support.engines import open_plain_engine
from support.precision import bound
from support.rows import few_shot
from support.tiny_models import FAMILIES, HEADS, LAYERS

MODELS = ["gpt2", "llama_grouped", "gpt_neox", "lfm2_moe", "bloom", "shared", "hrm_text"]
"""Plain and grouped heads, attention beside the MLP, layers without heads, passes that start at
the beginning of layers, a projection that layers share, and layers that run in turns."""


REFUSED = ("hrm_text", "resample")
"""heads that are used several times in a pass"""


@pytest.mark.parametrize(
    ("name", "kind", "per_position"),
    [(name, *kind) for name in MODELS for kind in KINDS if (name, kind[0]) != REFUSED],
)
def test_every_head_replaced_alone(name: str, kind: AblationKind, per_position: bool) -> None:
    model, data = make_any(name), rows_for(kind)
    reference = make_reference(model, data, kind, per_position=per_position)
    expected = stand_ins(model, data, kind, per_position)
    soft = torch.rand(find_head_sites(model).shape, generator=torch.Generator().manual_seed(0))
    matrices = [*one_head_out(model), soft, torch.zeros_like(soft)]
    if name not in FAMILIES:
        matrices = [*matrices[:4], *matrices[-3:]]
    by_row = np.array([sums_by_hand(model, data, expected, gates) for gates in matrices])
    tolerance = bound(model)
    # Of rows of 3 to 11 tokens, a small pass repeats some rows and not others.
    for tokens in (7, 10_000):
        scores = evaluate_gates(model, data, matrices, reference=reference, tokens_per_pass=tokens)
        assert np.abs(np.array([s.logprob_sums for s in scores]) - by_row).max() < tolerance
    zero = evaluate_gates(model, data, matrices[-2:])
    assert abs(zero[0].mean_target_logprob - scores[-2].mean_target_logprob) > 1e-6


def test_what_the_models_are_there_for() -> None:
    modes = [capabilities(make_any(name)).mode for name in MODELS]
    assert modes == ["inside"] * 4 + ["layers"] + ["whole"] * 2


@pytest.mark.parametrize(("kind", "per_position"), KINDS)
@pytest.mark.parametrize("in_parts", [True, False])
def test_the_gradient_of_a_fit(kind: AblationKind, per_position: bool, in_parts: bool) -> None:
    model, data = make_any("gpt2"), rows_for(kind)
    batch = collate(data.rows, 0)
    reference = make_reference(model, data, kind, per_position=per_position)
    gates = torch.rand(2, LAYERS, HEADS, generator=torch.Generator().manual_seed(1)).double()
    gates.requires_grad_()

    opened = open_engine(model, reference=reference)
    with opened if in_parts else open_plain_engine(model, reference) as engine:

        def loss(values: Tensor) -> Tensor:
            return -engine.measure(values, batch).mean()

        loss(gates).backward()
        assert gates.grad is not None
        for index in [(0, 0, 1), (1, 0, 0), (1, 1, 3)]:
            nudge = torch.zeros_like(gates)
            nudge[index] = 1e-5
            with torch.no_grad():
                slope = (loss(gates + nudge) - loss(gates - nudge)) / 2e-5
            assert abs(float(slope - gates.grad[index])) < 1e-8


def test_rows_that_share_a_beginning_have_its_means_too() -> None:
    model, data = make_any("gpt2"), few_shot()
    assert capabilities(model).max_shared_length
    reference = make_reference(model, data, "mean", per_position=True)
    expected, tolerance = stand_ins(model, data, "mean", True), bound(model)
    for gates, score in zip(
        one_head_out(model),
        evaluate_gates(model, data, one_head_out(model), reference=reference),
        strict=True,
    ):
        by_row = sums_by_hand(model, data, expected, gates)
        assert np.abs(score.logprob_sums - by_row).max() < tolerance
    assert pack_shared_prefix(with_partners(data, 0).rows[:2], 12).reference_ids is None


@pytest.mark.parametrize("kind", ["mean", "resample"])
def test_under_gates_of_the_users_own(kind: AblationKind) -> None:
    """The engine and plain passes agree on which acts first."""
    model, data = make_any("gpt2"), rows_for(kind)
    batch, outer = collate(data.rows, 0), torch.full((LAYERS, HEADS), 0.5)
    gates = torch.full((1, LAYERS, HEADS), 0.3)
    with gated(model, outer), torch.no_grad():
        reference = make_reference(model, data, kind)
        with open_engine(model, reference=reference) as engine:
            parts = engine.measure(gates, batch)
        with open_plain_engine(model, reference) as engine:
            whole = engine.measure(gates, batch)
    assert (parts - whole).abs().max() < bound(model)

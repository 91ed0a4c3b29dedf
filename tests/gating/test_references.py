"""What stands in for closed heads goes with the pass that it belongs to."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from chg import ablate_heads
from chg.config.choices import AblationKind
from chg.data.batches import collate
from chg.engine.evaluation import evaluate_gates
from chg.errors import ConfigError, DataError, GateError
from chg.gating.gate_wrapper import gated
from chg.gating.references import Reference, make_reference
from support.by_hand import KINDS, entering_projections, make_any, rows_for
from support.rows import ragged_data
from support.tiny_models import HEADS, LAYERS, make_model


@pytest.mark.parametrize(("kind", "per_position"), KINDS)
def test_open_gates_change_nothing_bit_for_bit(kind: AblationKind, per_position: bool) -> None:
    for dtype in (torch.float32, torch.bfloat16):
        model, data = make_model("gpt2").to(dtype), rows_for(kind)
        batch, ones = collate(data.rows, 0), torch.ones(LAYERS, HEADS)
        reference = make_reference(model, data, kind, per_position=per_position)
        assert reference is not None
        with torch.no_grad():
            before = model(**batch.inputs).logits
            with gated(model, ones, reference=reference.of(model, batch)):
                assert torch.equal(model(**batch.inputs).logits, before)
        found, ungated = (
            evaluate_gates(model, data, [ones], reference=fill)[0] for fill in (reference, None)
        )
        if kind == "mean":  # resampled rows go into other batches
            assert np.array_equal(found.logprob_sums, ungated.logprob_sums)


def test_positions_that_the_reference_rows_lack_take_the_mean_of_all() -> None:
    model, data = make_any("gpt2"), ragged_data()
    short = data.select([0, 1])
    reference = make_reference(model, short, "mean", per_position=True)
    assert reference is not None
    found = reference.of(model, collate(data.rows, 0))
    heads = [entering_projections(model, row.ids)[1][0] for row in short.rows]
    assert found[1].shape == (1, 11, 32)
    assert (found[1][0, 7] - torch.cat(heads).mean(0)).abs().max() < 1e-12
    assert (found[1][0, 4] - heads[1][4]).abs().max() < 1e-12


def test_a_mean_goes_with_any_pass() -> None:
    model, data = make_model("llama"), ragged_data()
    reference = make_reference(model, data, "mean")
    assert reference is not None
    prompt = torch.tensor([data.rows[3].ids])
    closed = torch.zeros(LAYERS, HEADS)
    with gated(model, closed, reference=reference.everywhere):
        grown = model.generate(prompt, max_new_tokens=4, do_sample=False, use_cache=True)
        again = model(grown[:, :-1]).logits[0, -4:].argmax(-1)
    assert grown[0, -4:].tolist() == again.tolist()
    batch = collate(data.rows, 0)
    by_position = make_reference(model, data, "mean", per_position=True)
    assert by_position is not None
    with (
        gated(model, closed, reference=by_position.of(model, batch)),
        pytest.raises(GateError, match="1 rows of 11 positions, this pass has 1 of 9"),
    ):
        model(prompt)
    with pytest.raises(GateError, match="fits no other pass"):
        _ = by_position.everywhere
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_what_is_refused() -> None:
    model, data = make_any("gpt2"), ragged_data()
    with pytest.raises(ConfigError, match="belongs to --ablation mean, not zero"):
        ablate_heads(model, data, per_position=True)
    with pytest.raises(ConfigError, match="belongs to --ablation mean, not resample"):
        make_reference(model, data, "resample", per_position=True)
    with pytest.raises(ConfigError, match="mean or resample, not zero"):
        ablate_heads(model, data, reference=data)
    with pytest.raises(DataError, match="with_partners"):
        make_reference(model, data, "resample")
    with pytest.raises(DataError, match="with_partners"):
        evaluate_gates(model, data, [torch.ones(2, 4)], reference=Reference("resample"))
    with pytest.raises(DataError, match="single row"):
        ablate_heads(model, ragged_data(1), ablation="resample")
    with pytest.raises(GateError, match="reference of layer 1 must be"):
        gated(model, torch.ones(2, 4), reference={0: torch.zeros(1, 1, 32)}).__enter__()
    with pytest.raises(GateError, match="times in a pass"):
        ablate_heads(make_any("hrm_text"), data, ablation="resample")
    assert make_reference(model, data, "zero") is None

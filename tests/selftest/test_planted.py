"""Known answers: models whose helpful, harmful and useless heads were planted."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from chg import ablate_heads, classify_heads, fit_gates
from chg.selftest.naive import mean_logprob
from chg.selftest.planted import D_HEAD, HARMFUL, HELPFUL, ROLES, copy_rows, planted_model

ROWS = 256  # 3 epochs of batches of 4: the specification's defaults make 192 updates


def test_individual_ablation_finds_every_head() -> None:
    scores = ablate_heads(planted_model(), copy_rows(64), show_progress=False).scores
    for head, role in ROLES.items():
        if role == "facilitating":
            assert scores[head] < -0.1, head
        elif role == "interfering":
            assert scores[head] > 0.1, head
        else:
            assert abs(scores[head]) < 0.05, head
    order = [
        tuple(int(i) for i in np.unravel_index(i, scores.shape)) for i in scores.ravel().argsort()
    ]
    assert set(order[: len(HELPFUL)]) == set(HELPFUL)
    assert order[-1] in HARMFUL


@pytest.mark.parametrize("seed", [0, 1, 2, 3, 4])
def test_three_fits_recover_every_role_with_the_defaults(seed: int) -> None:
    model, data = planted_model(), copy_rows(ROWS, seed)
    initial = fit_gates(model, data, seed=seed, show_progress=False)
    fits = [
        fit_gates(
            model, data, seed=seed, lambda_reg=sign, init=initial.gates, show_progress=False
        ).gates.values
        for sign in (-0.1, 0.1)
    ]
    roles = classify_heads(*fits).roles
    assert {head: str(roles[head]) for head in ROLES} == ROLES


def test_slicing_the_output_would_blame_the_wrong_head() -> None:
    """Coordinates 16 to 31 of attention's output are head 1's slice, but head 0 wrote them."""
    model, data = planted_model({(0, 0): 1.0}, reads={}), copy_rows(32)
    scores = ablate_heads(model, data, show_progress=False).scores
    assert scores[0].argmin() == 0

    def metric_with_output_slice_closed(head: int) -> float:
        def close(_module: object, _args: object, output: tuple[torch.Tensor, ...]) -> object:
            changed = output[0].clone()
            changed[..., head * D_HEAD : (head + 1) * D_HEAD] = 0
            return (changed, *output[1:])

        handle = model.transformer.h[0].attn.register_forward_hook(close)
        try:
            with torch.no_grad():
                return float(mean_logprob(model, data))
        finally:
            handle.remove()

    mistaken = [metric_with_output_slice_closed(head) for head in range(4)]
    assert int(np.argmin(mistaken)) == 1

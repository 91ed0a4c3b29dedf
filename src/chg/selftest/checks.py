"""Checks: each a name, an expected outcome, and a small function that finds the outcome."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from chg.ablation import ablate_heads
from chg.config import head_label
from chg.engine import open_engine
from chg.fitting import fit_gates, gate_regularizer
from chg.gating import gated
from chg.selftest import planted_outcomes as outcomes
from chg.selftest.fixtures import SEEDS, Fixtures
from chg.selftest.naive import head_replaced, mean_heads, mean_logprob, mean_nll, ragged_rows
from chg.selftest.planted import DUPLICATES, HARMFUL, HELPFUL, ROLES, SINGLE
from chg.selftest.planted_outcomes import Outcome
from chg.selftest.random_models import (
    FAMILIES,
    HEADS,
    LAYERS,
    random_model,
    with_gates_in_weights,
    without_head,
)

CLOSE = 1e-5
"""Bound on nats and differences of logits that float32 arithmetic in another order makes."""
EXACT = 1e-6
"""Bound on differences of slopes in float64, which finite differences limit."""


@dataclass(frozen=True)
class Check:
    """One check before it is run."""

    name: str
    expected: str
    find: Callable[[Fixtures], Outcome]


def _below(difference: Tensor | float, bound: float) -> Outcome:
    return f"{float(difference):.1e}", float(difference) < bound


@torch.no_grad()
def _logits(model: nn.Module) -> Tensor:
    """Logits of two rows of six tokens, `[row, pos, vocab]`."""
    logits: Tensor = model(torch.arange(1, 13).view(2, 6)).logits
    return logits


def _soft_gates() -> Tensor:
    """Gates between 0.1 and 0.9, all different, `[layer, head]`."""
    return torch.linspace(0.1, 0.9, LAYERS * HEADS).view(LAYERS, HEADS)


def _identity(family: str, _fixtures: Fixtures) -> Outcome:
    """Count the logits that gates of 1 change."""
    model = random_model(family)
    plain = _logits(model)
    with gated(model, torch.ones(LAYERS, HEADS)):
        changed = int((_logits(model) != plain).sum())
    return f"{changed} of {plain.numel()} differ" if changed else "same bits", not changed


def _left_as_found(family: str, _fixtures: Fixtures) -> Outcome:
    """Compare a model before and after gates, a fit, an ablation and an exception in a context."""
    model, data = random_model(family).train(), ragged_rows()
    next(model.parameters()).requires_grad_(False)
    before, weights = _marks(model), [weight.clone() for weight in model.parameters()]
    try:
        with gated(model, _soft_gates()):
            raise InterruptedError
    except InterruptedError:
        pass
    fit_gates(model, data, max_steps=2, show_progress=False)
    ablate_heads(model, data, show_progress=False)
    wrong = [name for name, value in _marks(model).items() if value != before[name]]
    if not all(map(torch.equal, weights, model.parameters())):
        wrong.append("weights")
    return (f"changed: {', '.join(wrong)}" if wrong else "as it was"), not wrong


def _marks(model: nn.Module) -> dict[str, Any]:
    """Marks of a model that may not change: hooks, forward methods and flags of every module."""
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks")
    modules = list(model.modules())
    return {
        "hooks": [[len(getattr(module, name)) for name in hooks] for module in modules],
        "forward": ["forward" in vars(module) for module in modules],
        "training": [module.training for module in modules],
        "requires_grad": [weight.requires_grad for weight in model.parameters()],
    }


def _closed_head(family: str, _fixtures: Fixtures) -> Outcome:
    """Find the largest difference of logits, over all heads, between a closed and a zeroed head."""
    model, worst = random_model(family), 0.0
    for layer, head in torch.ones(LAYERS, HEADS).nonzero().tolist():
        closed = torch.ones(LAYERS, HEADS)
        closed[layer, head] = 0
        zeroed = _logits(without_head(model, layer, head))
        with gated(model, closed):
            worst = max(worst, float((_logits(model) - zeroed).abs().max()))
    return _below(worst, CLOSE)


def _folding(family: str, _fixtures: Fixtures) -> Outcome:
    """Compare gates with the same gates multiplied into the weights."""
    model, gates = random_model(family), _soft_gates()
    folded = _logits(with_gates_in_weights(model, gates))
    with gated(model, gates):
        return _below((_logits(model) - folded).abs().max(), CLOSE)


def _ablation(family: str, _fixtures: Fixtures) -> Outcome:
    """Compare the engine with full passes of models with edited weights."""
    model, data = random_model(family), ragged_rows()
    result = ablate_heads(model, data, show_progress=False)
    with torch.no_grad():
        baseline = mean_logprob(model, data)
        differences = [
            mean_logprob(without_head(model, head.layer, head.head), data) - baseline - head.score
            for head in result.heads
        ]
    return _below(torch.stack(differences).abs().max(), CLOSE)


def _ablation_to_the_mean(_fixtures: Fixtures) -> Outcome:
    """Compare the engine with full passes in which a head's output is replaced by its mean."""
    model, data = random_model("grouped Llama"), ragged_rows()
    result = ablate_heads(model, data, ablation="mean", show_progress=False)
    means, worst = mean_heads(model, data), 0.0
    with torch.no_grad():
        baseline = float(mean_logprob(model, data))
        for head in result.heads:
            with head_replaced(model, head.layer, head.head, means[head.layer]):
                score = float(mean_logprob(model, data)) - baseline
            worst = max(worst, abs(score - head.score))
    return _below(worst, CLOSE)


def _gradient(_fixtures: Fixtures) -> Outcome:
    """Compare the loss's gradient with finite differences of full passes with edited weights."""
    model, data, weight, step = random_model("GPT-2").double(), ragged_rows(), 0.1, 1e-5
    start = torch.linspace(-2, 2, LAYERS * HEADS, dtype=torch.float64).view(1, LAYERS, HEADS)
    logits = start.clone().requires_grad_()
    with open_engine(model) as engine:
        batch = engine.batch(data.rows, data.pad_id)
        nll = -engine.measure(torch.sigmoid(logits), batch).mean()
        (nll + weight * gate_regularizer(logits).sum()).backward()
    assert logits.grad is not None

    def plain_loss(values: Tensor) -> float:
        nll = mean_nll(with_gates_in_weights(model, torch.sigmoid(values)), data)
        return float(nll + weight * values.mean())

    worst = 0.0
    with torch.no_grad():
        for index in range(LAYERS * HEADS):
            nudge = torch.zeros(LAYERS * HEADS, dtype=torch.float64)
            nudge[index] = step
            nudge = nudge.view(LAYERS, HEADS)
            slope = (plain_loss(start[0] + nudge) - plain_loss(start[0] - nudge)) / (2 * step)
            worst = max(worst, abs(slope - float(logits.grad.flatten()[index])))
    return _below(worst, EXACT)


def _in_families(name: str, expected: str, find: Callable[[str, Fixtures], Outcome]) -> list[Check]:
    return [Check(f"{name}, {family}", expected, partial(find, family)) for family in FAMILIES]


_KEPT, _LOST = HELPFUL
_SOME, _ALL = f"1 to {SEEDS - 1} of {SEEDS}", f"{SEEDS} of {SEEDS}"

CHECKS: tuple[Check, ...] = (
    *_in_families("gates of 1", "same bits", _identity),
    *_in_families("left behind", "as it was", _left_as_found),
    *_in_families("closed head = zeroed", f"< {CLOSE:.0e}", _closed_head),
    *_in_families("gates = in weights", f"< {CLOSE:.0e}", _folding),
    *_in_families("ablation = loop", f"< {CLOSE:.0e}", _ablation),
    Check("ablation to the mean = by hand", f"< {CLOSE:.0e}", _ablation_to_the_mean),
    Check("gradient = finite differences", f"< {EXACT:.0e}", _gradient),
    *(
        Check(
            f"ablating helpful {head_label(*h)}",
            f"< -{outcomes.MATTERS}",
            partial(outcomes.score_of, h),
        )
        for h in HELPFUL
    ),
    *(
        Check(
            f"ablating harmful {head_label(*h)}",
            f"> +{outcomes.MATTERS}",
            partial(outcomes.score_of, h),
        )
        for h in HARMFUL
    ),
    Check("ablating any other", f"< {outcomes.NOTHING}", outcomes.scores_of_irrelevant),
    *(
        Check(f"role of {head_label(*h)}", ROLES[h], partial(outcomes.role_of, h))
        for h in ROLES
        if ROLES[h] != "irrelevant"
    ),
    Check(
        "roles of the others",
        f"{len(outcomes.IRRELEVANT)} irrelevant",
        outcomes.roles_of_irrelevant,
    ),
    *(
        Check(
            f"ablating duplicate {head_label(*h)}",
            f"within {outcomes.NOTHING}",
            partial(outcomes.score_of_duplicate, h),
        )
        for h in DUPLICATES
    ),
    Check("ablating both duplicates", f"< -{outcomes.MATTERS}", outcomes.score_of_both_duplicates),
    *(
        Check(
            f"{head_label(*h)} facilitating, seeds",
            _SOME,
            partial(outcomes.facilitating_in_some_seeds, h),
        )
        for h in DUPLICATES
    ),
    Check(
        f"{head_label(*SINGLE)} facilitating, seeds",
        _ALL,
        partial(outcomes.facilitating_in_all_seeds, SINGLE),
    ),
    Check("just one of the two, seeds", _ALL, outcomes.single_duplicate_facilitating),
    Check("redundant pair", outcomes.join_labels(DUPLICATES), outcomes.redundant_pairs),
    Check(
        f"contrast, keeps {head_label(*_KEPT)}",
        "> 0.5",
        partial(outcomes.contrast_gate, _KEPT, True),
    ),
    Check(
        f"contrast, closes {head_label(*_LOST)}",
        "< 0.5",
        partial(outcomes.contrast_gate, _LOST, False),
    ),
    Check("contrast, retained answers", "100%", outcomes.contrast_retain),
    Check("contrast, forgotten NLL", f"> +{outcomes.MATTERS}", outcomes.contrast_forget),
)
"""All checks, in the order of the table."""

"""The checks: each a name, what is expected, and a small function that finds out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from chg.ablation import ablate_heads
from chg.config import Head
from chg.engine import evaluate_gates, open_engine
from chg.fitting import fit_gates, gate_regularizer
from chg.gating import gated
from chg.selftest.fixtures import SEEDS, Fixtures
from chg.selftest.naive import head_replaced, mean_heads, mean_logprob, mean_nll, ragged_rows
from chg.selftest.planted import (
    DUPLICATES,
    HARMFUL,
    HELPFUL,
    ROLES,
    SINGLE,
    copy_rows,
    redundant_model,
)
from chg.selftest.random_models import (
    FAMILIES,
    HEADS,
    LAYERS,
    random_model,
    with_gates_in_weights,
    without_head,
)

CLOSE = 1e-5
"""Nats, or differences of logits, that float32 arithmetic in another order may make."""
EXACT = 1e-6
"""The same of slopes in float64, which finite differences limit."""
MATTERS, NOTHING = 0.1, 0.05
"""Nats per token from which an ablation counts as felt, and below which it does not."""
Found = tuple[str, bool]
"""What was found, and whether it is what is expected."""


@dataclass(frozen=True)
class Check:
    """One check before it is run."""

    name: str
    expected: str
    find: Callable[[Fixtures], Found]


def _label(head: Head) -> str:
    return f"L{head[0]}H{head[1]}"


def _labels(heads: Iterable[Head]) -> str:
    return " ".join(map(_label, heads))


def _below(difference: Tensor | float, bound: float) -> Found:
    return f"{float(difference):.1e}", float(difference) < bound


@torch.no_grad()
def _logits(model: nn.Module) -> Tensor:
    """`[row, pos, vocab]`: of two rows of six tokens."""
    logits: Tensor = model(torch.arange(1, 13).view(2, 6)).logits
    return logits


def _soft_gates() -> Tensor:
    """`[layer, head]`: gates between 0.1 and 0.9, all different."""
    return torch.linspace(0.1, 0.9, LAYERS * HEADS).view(LAYERS, HEADS)


def _identity(family: str, _bench: Fixtures) -> Found:
    model = random_model(family)
    plain = _logits(model)
    with gated(model, torch.ones(LAYERS, HEADS)):
        changed = int((_logits(model) != plain).sum())
    return f"{changed} of {plain.numel()} differ" if changed else "same bits", not changed


def _left_as_found(family: str, _bench: Fixtures) -> Found:
    """Gates, a fit, an ablation and an exception inside a context leave nothing behind."""
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
    """What may not change about a model: hooks, forward methods and flags of every module."""
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks")
    modules = list(model.modules())
    return {
        "hooks": [[len(getattr(module, name)) for name in hooks] for module in modules],
        "forward": ["forward" in vars(module) for module in modules],
        "training": [module.training for module in modules],
        "requires_grad": [weight.requires_grad for weight in model.parameters()],
    }


def _closed_head(family: str, _bench: Fixtures) -> Found:
    """The largest difference of logits over all heads."""
    model, worst = random_model(family), 0.0
    for layer, head in torch.ones(LAYERS, HEADS).nonzero().tolist():
        closed = torch.ones(LAYERS, HEADS)
        closed[layer, head] = 0
        zeroed = _logits(without_head(model, layer, head))
        with gated(model, closed):
            worst = max(worst, float((_logits(model) - zeroed).abs().max()))
    return _below(worst, CLOSE)


def _folding(family: str, _bench: Fixtures) -> Found:
    model, gates = random_model(family), _soft_gates()
    folded = _logits(with_gates_in_weights(model, gates))
    with gated(model, gates):
        return _below((_logits(model) - folded).abs().max(), CLOSE)


def _ablation(family: str, _bench: Fixtures) -> Found:
    """The engine against full passes of models with edited weights, largest difference."""
    model, data = random_model(family), ragged_rows()
    result = ablate_heads(model, data, show_progress=False)
    with torch.no_grad():
        baseline = mean_logprob(model, data)
        differences = [
            mean_logprob(without_head(model, head.layer, head.head), data) - baseline - head.score
            for head in result.heads
        ]
    return _below(torch.stack(differences).abs().max(), CLOSE)


def _ablation_to_the_mean(_bench: Fixtures) -> Found:
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


def _gradient(_bench: Fixtures) -> Found:
    """The fit's loss against finite differences of full passes with edited weights, in float64."""
    model, data, weight, step = random_model("GPT-2").double(), ragged_rows(), 0.1, 1e-5
    start = torch.linspace(-2, 2, LAYERS * HEADS, dtype=torch.float64).view(1, LAYERS, HEADS)
    logits = start.clone().requires_grad_()
    with open_engine(model) as engine:
        batch = engine.batch(data.rows, data.pad_id)
        nll = -engine.log_probs(torch.sigmoid(logits), batch).mean()
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


def _sign(head: Head, bench: Fixtures) -> Found:
    score = float(bench.scores[head])
    return f"{score:+.2f}", score < -MATTERS if head in HELPFUL else score > MATTERS


def _signs_of_the_rest(bench: Fixtures) -> Found:
    largest = max(abs(float(bench.scores[head])) for head in _rest())
    return f"{largest:.3f}", largest < NOTHING


def _rest() -> list[Head]:
    return [head for head, role in ROLES.items() if role == "irrelevant"]


def _role(head: Head, bench: Fixtures) -> Found:
    role = str(bench.roles[head])
    return role, role == ROLES[head]


def _roles_of_the_rest(bench: Fixtures) -> Found:
    irrelevant = sum(bench.roles[head] == "irrelevant" for head in _rest())
    return f"{irrelevant} irrelevant", irrelevant == len(_rest())


def _one_duplicate(head: Head, bench: Fixtures) -> Found:
    score = float(bench.redundant_scores[head])
    return f"{score:+.3f}", abs(score) < NOTHING


def _both_duplicates(_bench: Fixtures) -> Found:
    gates = torch.ones(2, LAYERS, HEADS)
    for layer, head in DUPLICATES:
        gates[1, layer, head] = 0
    before, after = evaluate_gates(redundant_model(), copy_rows(64), list(gates))
    score = after.mean_target_logprob - before.mean_target_logprob
    return f"{score:+.2f}", score < -MATTERS


def _facilitating_in(head: Head, bench: Fixtures) -> int:
    """Seeds in which a head of the model with duplicates is facilitating."""
    return int((bench.redundant_study.roles[:, head[0], head[1]] == "facilitating").sum())


def _in_some_seeds(head: Head, bench: Fixtures) -> Found:
    count = _facilitating_in(head, bench)
    return f"{count} of {SEEDS}", 0 < count < SEEDS


def _in_every_seed(head: Head, bench: Fixtures) -> Found:
    count = _facilitating_in(head, bench)
    return f"{count} of {SEEDS}", count == SEEDS


def _exactly_one_duplicate(bench: Fixtures) -> Found:
    facilitating = bench.redundant_study.roles == "facilitating"
    layers, heads = zip(*DUPLICATES, strict=True)
    count = int((facilitating[:, layers, heads].sum(1) == 1).sum())
    return f"{count} of {SEEDS}", count == SEEDS


def _group(bench: Fixtures) -> Found:
    groups = [group.heads for group in bench.redundant_study.agreement.redundant]
    return "; ".join(map(_labels, groups)) or "none", groups == [DUPLICATES]


def _contrast_gate(head: Head, opened: bool, bench: Fixtures) -> Found:
    gate = float(bench.contrast.gates.values[head])
    return f"{gate:.2f}", gate > 0.5 if opened else gate < 0.5


def _contrast_retain(bench: Fixtures) -> Found:
    accuracy = bench.contrast.retain.accuracy_thresholded
    return f"{accuracy:.0%}", accuracy == 1


def _contrast_forget(bench: Fixtures) -> Found:
    forget = bench.contrast.forget
    rise = forget.nll_thresholded - forget.nll_before
    return f"{rise:+.2f}", rise > MATTERS


def _in_families(name: str, expected: str, find: Callable[[str, Fixtures], Found]) -> list[Check]:
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
    *(Check(f"ablating helpful {_label(h)}", f"< -{MATTERS}", partial(_sign, h)) for h in HELPFUL),
    *(Check(f"ablating harmful {_label(h)}", f"> +{MATTERS}", partial(_sign, h)) for h in HARMFUL),
    Check("ablating any other", f"< {NOTHING}", _signs_of_the_rest),
    *(
        Check(f"role of {_label(h)}", ROLES[h], partial(_role, h))
        for h in ROLES
        if ROLES[h] != "irrelevant"
    ),
    Check("roles of the others", f"{len(_rest())} irrelevant", _roles_of_the_rest),
    *(
        Check(f"ablating duplicate {_label(h)}", f"within {NOTHING}", partial(_one_duplicate, h))
        for h in DUPLICATES
    ),
    Check("ablating both duplicates", f"< -{MATTERS}", _both_duplicates),
    *(
        Check(f"{_label(h)} facilitating, seeds", _SOME, partial(_in_some_seeds, h))
        for h in DUPLICATES
    ),
    Check(f"{_label(SINGLE)} facilitating, seeds", _ALL, partial(_in_every_seed, SINGLE)),
    Check("just one of the two, seeds", _ALL, _exactly_one_duplicate),
    Check("redundant group", _labels(DUPLICATES), _group),
    Check(f"contrast, keeps {_label(_KEPT)}", "> 0.5", partial(_contrast_gate, _KEPT, True)),
    Check(f"contrast, closes {_label(_LOST)}", "< 0.5", partial(_contrast_gate, _LOST, False)),
    Check("contrast, retained answers", "100%", _contrast_retain),
    Check("contrast, forgotten NLL", f"> +{MATTERS}", _contrast_forget),
)
"""In the order of the table."""

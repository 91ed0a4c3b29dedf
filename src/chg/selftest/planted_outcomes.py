"""Outcomes of the checks on planted models, whose heads have known roles."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from chg.config import VERDICT_THRESHOLD, Head, head_label
from chg.engine import evaluate_gates
from chg.selftest.fixtures import SEEDS, Fixtures
from chg.selftest.planted import (
    DUPLICATES,
    HEADS,
    HELPFUL,
    LAYERS,
    ROLES,
    copy_rows,
    redundant_model,
)

MATTERS, NOTHING = 0.1, 0.05
"""Nats per token above which an ablation counts as felt, and below which as not felt."""
IRRELEVANT = tuple(head for head, role in ROLES.items() if role == "irrelevant")
"""Heads of the planted model that neither help nor harm."""

Outcome = tuple[str, bool]
"""The outcome in words, and true if it is as expected."""


def join_labels(heads: Iterable[Head]) -> str:
    """Labels of heads, as in `L0H0 L0H2`."""
    return " ".join(head_label(*head) for head in heads)


def score_of(head: Head, fixtures: Fixtures) -> Outcome:
    """Ablation score of a helpful or a harmful head."""
    score = float(fixtures.scores[head])
    return f"{score:+.2f}", score < -MATTERS if head in HELPFUL else score > MATTERS


def scores_of_irrelevant(fixtures: Fixtures) -> Outcome:
    """Largest ablation score of an irrelevant head, without its sign."""
    largest = max(abs(float(fixtures.scores[head])) for head in IRRELEVANT)
    return f"{largest:.3f}", largest < NOTHING


def role_of(head: Head, fixtures: Fixtures) -> Outcome:
    """Role of a helpful or a harmful head."""
    role = str(fixtures.roles[head])
    return role, role == ROLES[head]


def roles_of_irrelevant(fixtures: Fixtures) -> Outcome:
    """Count of irrelevant heads that have that role."""
    count = sum(fixtures.roles[head] == "irrelevant" for head in IRRELEVANT)
    return f"{count} irrelevant", count == len(IRRELEVANT)


def score_of_duplicate(head: Head, fixtures: Fixtures) -> Outcome:
    """Ablation score of a single duplicate."""
    score = float(fixtures.redundant_scores[head])
    return f"{score:+.3f}", abs(score) < NOTHING


def score_of_both_duplicates(_fixtures: Fixtures) -> Outcome:
    """Score of ablating both duplicates together."""
    gates = torch.ones(2, LAYERS, HEADS)
    for layer, head in DUPLICATES:
        gates[1, layer, head] = 0
    before, after = evaluate_gates(redundant_model(), copy_rows(64), list(gates))
    score = after.mean_target_logprob - before.mean_target_logprob
    return f"{score:+.2f}", score < -MATTERS


def facilitating_in_some_seeds(head: Head, fixtures: Fixtures) -> Outcome:
    """Count of seeds in which a head is facilitating, more than none and fewer than all."""
    count = _seeds_facilitating(head, fixtures)
    return f"{count} of {SEEDS}", 0 < count < SEEDS


def facilitating_in_all_seeds(head: Head, fixtures: Fixtures) -> Outcome:
    """Count of seeds in which a head is facilitating, all of them."""
    count = _seeds_facilitating(head, fixtures)
    return f"{count} of {SEEDS}", count == SEEDS


def _seeds_facilitating(head: Head, fixtures: Fixtures) -> int:
    return int((fixtures.redundant_study.roles[:, head[0], head[1]] == "facilitating").sum())


def single_duplicate_facilitating(fixtures: Fixtures) -> Outcome:
    """Count of seeds in which exactly one duplicate is facilitating, all of them."""
    facilitating = fixtures.redundant_study.roles == "facilitating"
    layers, heads = zip(*DUPLICATES, strict=True)
    count = int((facilitating[:, layers, heads].sum(1) == 1).sum())
    return f"{count} of {SEEDS}", count == SEEDS


def redundant_pairs(fixtures: Fixtures) -> Outcome:
    """Redundant pairs of the study, the duplicates alone."""
    pairs = [pair.heads for pair in fixtures.redundant_study.redundant]
    return "; ".join(map(join_labels, pairs)) or "none", pairs == [DUPLICATES]


def contrast_gate(head: Head, opened: bool, fixtures: Fixtures) -> Outcome:
    """Contrastive gate of a head, open or closed."""
    gate = float(fixtures.contrast.gates.values[head])
    return f"{gate:.2f}", gate > VERDICT_THRESHOLD if opened else gate < VERDICT_THRESHOLD


def contrast_retain(fixtures: Fixtures) -> Outcome:
    """Accuracy on retained tokens with contrastive gates cut to 0 or 1."""
    accuracy = fixtures.contrast.retain.accuracy_thresholded
    return f"{accuracy:.0%}", accuracy == 1


def contrast_forget(fixtures: Fixtures) -> Outcome:
    """Rise of NLL on forgotten tokens with contrastive gates cut to 0 or 1."""
    forget = fixtures.contrast.forget
    rise = forget.nll_thresholded - forget.nll_before
    return f"{rise:+.2f}", rise > MATTERS

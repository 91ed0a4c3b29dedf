"""Studies made up from planted roles: the shape of the real thing, without a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from chg.ablation.faithfulness import measure_faithfulness
from chg.engine.evaluation import SequenceScores
from chg.report import Study
from chg.results.agreement import Agreement
from chg.results.causal import CausalCurve, Checks, Correlation, GroupEffect
from chg.results.convergence import Convergence, FitMotion
from chg.results.faithfulness import Faithfulness, Ranking
from chg.results.heads_table import heads_table
from chg.results.redundancy import RedundantPair
from chg.results.roles import classify_heads, role_over_seeds
from chg.results.stages import STAGES
from chg.results.study_scores import Effects, PathScores, StudyScores

SCORES = ("facilitation", "irrelevance", "interference")
AGREEMENT = 0.6
TOLERANCE = 0.125
PULLS = {"facilitating": (3.6, 3.2), "irrelevant": (3.5, -3.4), "interfering": (-3.0, -3.7)}
"""Role -> where retention and removal take its logit."""
IN_PART = {2: (3.6, 0.1), 3: (0.1, -3.7)}
"""Head of the first layer -> the same, where the task stops its gate on the way."""


def example_study(
    layers: int = 4,
    heads: int = 8,
    seeds: int = 3,
    *,
    hybrid: bool = False,
    path: bool = False,
    patterns: bool = False,
    steps: int = 60,
    title: str = "tiny-decoder on antonyms",
) -> Study:
    """A study with known roles; with `hybrid`, every fourth layer has no heads.

    With `patterns`, most induction heads facilitate, and a layer's attention could not be read.
    """
    random = np.random.default_rng(layers * 1000 + heads)
    exists = np.ones((layers, heads), bool)
    if hybrid:
        exists[1::4] = False
    truth = random.choice(
        ["facilitating", "irrelevant", "interfering"], (layers, heads), p=[0.22, 0.66, 0.12]
    )
    logits = _logits(truth, exists, seeds, random)
    gates = {stage: 1 / (1 + np.exp(-logits[stage])) for stage in STAGES}
    roles = np.stack([_roles(gates, seed) for seed in range(seeds)])
    by_seed = {
        "facilitation": gates["removal"],
        "irrelevance": gates["retention"] * (1 - gates["removal"]),
        "interference": 1 - gates["retention"],
    }
    table = _heads(by_seed, roles, truth, exists, random, path)
    if patterns:
        table = table.assign(**_patterns(table))
    return Study(
        manifest=_manifest(title, layers, heads, seeds),
        seeds=tuple(range(seeds)),
        logits=logits,
        scores=by_seed,
        roles=roles,
        heads=table,
        metrics=_metrics(logits, seeds, steps, random),
        proofs=Checks(
            curves=tuple(_check(score, by_seed[score], roles, random) for score in SCORES),
            correlations=tuple(_correlations(table)),
            groups=(GroupEffect("facilitating", 3, -1.25, -1.4, -1.1, 0.12),),
            redundant=(_redundant(layers - 1),),
            proposed=5,
            tolerance=TOLERANCE,
        ),
        agreement=_agreement(by_seed, roles),
        path=_path(by_seed, gates, exists) if path else None,
        faithfulness=_faithfulness(by_seed["facilitation"].mean(0), random),
    )


def _faithfulness(scores: NDArray[np.float64], random: np.random.Generator) -> Faithfulness:
    """Curves that rise sooner for better rankings, measured on rows that are made up."""
    exists = torch.from_numpy(np.isfinite(scores))
    none, all_ = random.normal(-9, 1, 40), random.normal(-1, 0.5, 40)
    speed = {"budgeted fit": 0.1, "facilitation": 0.2, "ablation": 0.3, "random": 0.7}
    orders = [Ranking(name, scores[None], 3 * i) for i, name in enumerate(speed)]
    speeds = [speed[ranking.name] for ranking in orders]

    def evaluate(_: str, matrices: Sequence[Tensor]) -> list[SequenceScores]:
        inner = (len(matrices) - 2) // len(orders)
        scored = []
        for i, matrix in enumerate(matrices):
            share = float(matrix.sum() / exists.sum())
            # The first two keep none and all.
            f = share if i < 2 else 1 - np.exp(-share / speeds[(i - 2) // inner])
            scored.append(SequenceScores(none + (all_ - none) * f, np.full(40, f), np.ones(40)))
        return scored

    return measure_faithfulness(evaluate, orders, exists, ablation="zero", metric="logprob")


def _logits(
    truth: NDArray[Any], exists: NDArray[np.bool_], seeds: int, random: np.random.Generator
) -> dict[Any, NDArray[np.float32]]:
    size = (seeds, *truth.shape)
    spread = random.gamma(1.2, 0.6, truth.shape)
    logits = {"initial": random.normal(0.6, 2.0, size)}
    for index, stage in enumerate(("retention", "removal")):
        pull = np.select([truth == role for role in PULLS], [PULLS[role][index] for role in PULLS])
        logits[stage] = pull + random.normal(0, 1, size) * spread
    # Two heads that do the same: each seed keeps one of them.
    for seed in range(seeds):
        logits["retention"][seed, -1, :2] = 3.8
        logits["removal"][seed, -1, :2] = (3.5, -3.5) if seed % 2 else (-3.5, 3.5)
    for head, pulled in IN_PART.items():
        if head < size[2]:
            logits["retention"][:, 0, head], logits["removal"][:, 0, head] = pulled
    return {
        stage: np.where(exists, np.clip(values, -4, 4), np.nan).astype(np.float32)  # type: ignore[misc]
        for stage, values in logits.items()
    }


def _roles(gates: dict[Any, NDArray[Any]], seed: int) -> NDArray[Any]:
    retention, removal = (torch.from_numpy(gates[s][seed]) for s in ("retention", "removal"))
    return classify_heads(retention, removal).roles


def _heads(
    by_seed: dict[str, NDArray[np.float64]],
    roles: NDArray[Any],
    truth: NDArray[Any],
    exists: NDArray[np.bool_],
    random: np.random.Generator,
    path: bool,
) -> pd.DataFrame:
    overall = role_over_seeds(roles, AGREEMENT)
    effect = np.select([truth == "facilitating", truth == "interfering"], [-1.0, 0.35], 0.0)
    scores = effect * random.gamma(1.5, 0.08, truth.shape) + random.normal(0, 0.004, truth.shape)
    scores[0, 2:3] = 0.3  # ablation helps where gates say that the head is needed
    scores = np.where(exists, scores, np.nan)
    errors = 0.003 + 0.1 * np.abs(scores)
    estimate = scores * random.normal(1, 0.2, truth.shape)
    effects = Effects(scores, errors, estimate, 128, 0.9 * scores, errors, 64)
    lambdas = {}
    if path:
        high = random.choice([0.1, 0.2, 0.5], truth.shape)
        lambdas = {"lambda_low": np.full(truth.shape, 0.05), "lambda_high": high}
    of_seeds = StudyScores(by_seed, roles, torch.empty(0))
    return heads_table(of_seeds, overall, effects, TOLERANCE, lambdas)


def _patterns(table: pd.DataFrame) -> dict[str, pd.Series]:
    """Scores of attention patterns, drawn apart from all else."""
    random = np.random.default_rng(7)
    known = random.random(len(table)) < np.where(table.role == "facilitating", 0.6, 0.1)
    scores = {
        "previous_token": random.beta(0.5, 3, len(table)),
        "duplicate_token": 0.3 * random.random(len(table)),
        "induction": np.where(known, 0.5, 0) + 0.3 * random.random(len(table)),
    }
    return {name: pd.Series(one).mask(table.layer == 2) for name, one in scores.items()}


def _metrics(
    logits: dict[Any, NDArray[np.float32]], seeds: int, steps: int, random: np.random.Generator
) -> pd.DataFrame:
    rows = []
    total = int(np.isfinite(logits["initial"][0]).sum())
    ends = {"initial": (1.8, 0.55, 0.6), "retention": (0.6, 0.45, 0.85), "removal": (0.6, 0.7, 0.3)}
    signs = {"initial": 0.0, "retention": -0.1, "removal": 0.1}
    for stage, (start, end, opened) in ends.items():
        for seed in range(seeds):
            for step in range(1, steps + 1):
                rest = float(np.exp(-5 * step / steps))
                share = opened + (0.5 - opened) * rest + random.normal(0, 0.004)
                loss = end + (start - end) * rest + random.normal(0, 0.05)
                is_open, closed = int(total * share), int(total * (0.95 - share))
                measured = loss + 0.02 if step % 20 == 0 else np.nan
                counts = (is_open, closed, total - is_open - closed)
                rows.append((stage, signs[stage], seed, step, loss, *counts, measured))
    names = "stage lambda_reg seed step loss open closed middle held_out_nll"
    return pd.DataFrame(rows, columns=names.split())


def _check(
    score: str, values: NDArray[np.float64], roles: NDArray[Any], random: np.random.Generator
) -> CausalCurve:
    role, expected, size = {
        "facilitation": ("facilitating", "negative", -0.9),
        "irrelevance": ("irrelevant", "zero", 0.0),
        "interference": ("interfering", "positive", 0.25),
    }[score]
    in_role = float((roles == role).sum(axis=(1, 2)).mean())
    counts = np.unique(np.linspace(1, max(in_role * 1.3, 4), 24).astype(int))
    rise = 1 - np.exp(-3 * counts / max(in_role, 1))
    beyond = np.clip(counts - in_role, 0, None) / max(in_role, 1)
    seeds = len(values)
    difference = size * rise - 0.6 * beyond + random.normal(0, 0.02, (seeds, len(counts)))
    order = tuple(
        tuple((int(i) // one.shape[1], int(i) % one.shape[1]) for i in np.argsort(-one.ravel())[:5])
        for one in np.nan_to_num(values, nan=-1)
    )
    at = int(np.abs(counts - in_role).argmin())
    value = float(difference[:, at].mean())
    verdict = f"{value:+.3f} nats per token over {in_role:.0f} {role} heads: {expected}"
    holds = {"facilitation": True, "irrelevance": False, "interference": None}[score]
    return CausalCurve(
        score=score,
        expected=expected,
        counts=counts,
        difference=difference,
        in_role=in_role,
        heads=order,
        holds=holds,
        verdict=verdict,
        judged_at=int(counts[at]),
        value=value,
        low=value - 0.1,
        high=value + 0.1,
        tolerance=TOLERANCE if expected == "zero" else None,
    )


def _correlations(table: pd.DataFrame) -> list[Correlation]:
    effect = table["ablation_score"].rank()
    return [
        Correlation(
            score, "individual ablation score", float(table[f"{score}_mean"].rank().corr(effect))
        )
        for score in SCORES
    ]


def _agreement(by_seed: dict[str, NDArray[np.float64]], roles: NDArray[Any]) -> Agreement:
    found = [tuple(map(tuple, np.argwhere(one == "facilitating").tolist())) for one in roles]
    sets = [set(one) for one in found]
    jaccard = np.array([[len(a & b) / max(len(a | b), 1) for b in sets] for a in sets])
    different = {one: tuple(i for i, f in enumerate(found) if f == one) for one in found}
    return Agreement(
        spearman={
            score: pd.DataFrame(values.reshape(len(values), -1).T).rank().corr().to_numpy()
            for score, values in by_seed.items()
        },
        jaccard=jaccard,
        circuits=tuple(sorted(different.items(), key=lambda item: -len(item[1]))),
    )


def _redundant(layer: int) -> RedundantPair:
    return RedundantPair(((layer, 0), (layer, 1)), (-0.01, -0.02), -0.9, -0.87, 0.05, 1e-9)


def _path(
    by_seed: dict[str, NDArray[np.float64]],
    gates: dict[Any, NDArray[np.float64]],
    exists: NDArray[np.bool_],
) -> PathScores:
    lambdas = (0.02, 0.05, 0.1, 0.2, 0.5)
    mean = {name: values.mean(axis=0) for name, values in by_seed.items()}
    strength = [np.clip(0.4 + 0.3 * i, 0, 1.2) for i in range(len(lambdas))]
    removal = np.stack([gates["removal"].mean(axis=0) ** one for one in strength])
    plus = torch.from_numpy(gates["retention"].mean(axis=0))
    roles = np.stack([classify_heads(plus, torch.from_numpy(one)).roles for one in removal])
    scores = {name: np.stack([value] * len(lambdas)) for name, value in mean.items()}
    scores["facilitation"] = np.where(exists, removal, np.nan)
    return PathScores(lambdas, roles, scores)


def _convergence(seeds: int) -> dict[str, Any]:
    """All fits at rest, but for one of removal."""
    fits = [
        FitMotion(stage, seed, 0.09 if (stage, seed) == ("removal", 0) else 0.0, 0.01)
        for stage in STAGES
        for seed in range(seeds)
    ]
    return Convergence(tuple(fits), 300).to_json()


def _manifest(title: str, layers: int, heads: int, seeds: int) -> dict[str, Any]:
    model, data = title.split(" on ")
    return {
        "title": title,
        "summary": (
            f"{seeds} seeds of {model} ({layers} layers x {heads} heads) were fitted on 512 rows "
            f"of {data}: first gates alone (G0), then with pressure to open (G+) and to close "
            "(G-), 300 updates each, |lambda| 0.1. All heads were then ablated one by one, and "
            "the roles checked by toggling heads in their order, on 128 held-out rows."
        ),
        "model": {
            "model": model,
            "revision": "1f2e3d4c",
            "architecture": "LlamaForCausalLM",
            "dtype": "bfloat16",
        },
        "data": {"name": data, "fingerprint": "9c2b77", "rows": 512, "target_tokens": 1536},
        "held_out": {"rows": 128, "target_tokens": 384},
        "configuration": {"lambda_reg": 0.1, "lr": 0.01, "max_steps": 300},
        "versions": {"chg": "0.1.0", "torch": "2.13.0", "transformers": "4.57.1"},
        "git_commit": "0123abcd",
        "device": "cpu",
        "times": {"fit": 74.2, "ablation": 21.9, "check": 8.4},
        "shape": [layers, heads],
        "competence": {
            "rows": 128,
            "nll": 0.412,
            "accuracy": 0.871,
            "counted": "rows",
            "exchanged_nll": 5.31,
            "gain": 4.898,
            "p_value": 1e-40,
        },
        "unit": "head",
        "convergence": _convergence(seeds),
        "figures": {"ungated": {"nll": 0.412, "accuracy": 0.871}}
        | {
            name: {
                "nll": {"mean": nll, "min": nll - 0.02, "max": nll + 0.03},
                "accuracy": {"mean": accuracy, "min": accuracy - 0.01, "max": accuracy + 0.01},
            }
            for name, nll, accuracy in (
                ("initial", 0.377, 0.884),
                ("retention", 0.371, 0.889),
                ("removal", 0.402, 0.867),
            )
        },
        "created": "2026-11-24T00:00:00+00:00",
    }

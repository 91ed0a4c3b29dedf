"""Heads taken out, and the change that this makes (docs/method.md#ablation-and-importance-scores).

1. A job is a list of gate matrices: the baseline first, then one per head or step.
2. Each is scored by `evaluate_gates`; the difference of the metric from the baseline is the score.
   Negative: important. Positive: anti-important.
3. A head that is out is zero, its mean, or its output elsewhere (`gating.references`).
"""

from __future__ import annotations

import logging
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from chg.ablation.scores import closed_alone, closed_in_turn, score_difference
from chg.config import METRIC_WORDS, UNIT_NAMES, AblationConfig, Head
from chg.data import TokenData
from chg.engine import (
    EvaluationOptions,
    SequenceScores,
    capabilities,
    estimate_scores,
    evaluate_gates,
    open_engine,
)
from chg.errors import GateError
from chg.gating import (
    AnyGates,
    HeadGates,
    Reference,
    attach,
    describe_gates,
    describe_reference,
    gate_values,
    prepare,
    resolve_gates,
)
from chg.models import (
    AnyModel,
    describe_model,
    find_head_sites,
    matmul_dtype,
    plain_torch,
    unwrap_model,
)
from chg.progress import progress_bar
from chg.results import AblationResult, HeadScore, Method, Step, origin

logger = logging.getLogger(__name__)


@plain_torch()
def ablate_heads(
    model: AnyModel,
    data: TokenData,
    config: AblationConfig | None = None,
    *,
    gates: AnyGates | None = None,
    reference: TokenData | None = None,
    show_progress: bool = True,
    **settings: Any,
) -> AblationResult:
    """Ablate heads one at a time, or one after another.

    Args:
        model: a causal language model; left exactly as it was.
        data: rows whose target tokens are scored.
        config: all settings; or give single ones as keywords, `mode="sequential"`.
        gates: the baseline all other heads stay at, in any form that `gated` takes; of a study its
            removal gates (G-), first seed, cut at 0.5 (others: `HeadGates.from_study`). All heads
            are open if not given.
        reference: rows that `ablation="mean"` is over, or that `"resample"` takes heads from; those
            of `data` if not given.
        show_progress: a progress bar with the time left, on a terminal.
        settings: fields of `AblationConfig`.

    Raises:
        ArchitectureError: the model's heads cannot be found.
        ConfigError, DataError: the reference rows do not go with the kind of ablation.
        GateError: the gates do not fit the model.

    Example:
        >>> result = ablate_heads(model, data, gates=HeadGates.load("gates_init.pt"))
        >>> result.scores[0, 3]  # doctest: +SKIP
    """
    model = unwrap_model(model)
    config = config or AblationConfig(**settings)
    exists = find_head_sites(model).existing(config.unit)
    described = describe_model(model)
    given = None if gates is None else resolve_gates(model, gates)
    baseline = _baseline(given, config, exists)
    attach(model, baseline).remove()  # the checks, once, before the work
    began = time.perf_counter()
    (data,), fill = prepare(model, config, (data,), reference, config.metric)
    job = _Job(model, data, config, baseline, fill, show_progress)
    baseline_metric, scored, steps = job.run(head_order(config, exists))
    return AblationResult(
        mode=config.mode,
        model=described["model"],
        dataset=data.name,
        baseline=baseline_metric,
        num_sequences=len(data),
        num_target_tokens=data.num_target_tokens,
        seconds=time.perf_counter() - began,
        num_layers=exists.shape[0],
        num_heads=exists.shape[1],
        unit=config.unit,
        ablation=config.ablation,
        method=_method(config),
        metric=METRIC_WORDS[config.metric].stored,
        order=config.ablation_order if config.mode == "sequential" else None,
        heads=scored,
        steps=steps,
        metadata=origin(
            config,
            **described,
            **describe_reference(fill),
            data_fingerprint=data.fingerprint,
            gates=describe_gates(given, config.unit),
        ),
    )


def _baseline(
    gates: HeadGates | Float[Tensor, "*batch layer head"] | None,
    config: AblationConfig,
    exists: Bool[Tensor, "layer head"],
) -> Float[Tensor, "layer head"]:
    """Take the gates that heads stay at: all open, or those given, if these fit the model.

    Raises:
        GateError: they do not.
    """
    if gates is None:
        return torch.ones(exists.shape)
    if isinstance(gates, HeadGates):
        fitted = gates.metadata.get("ablation", config.ablation)
        if fitted != config.ablation:
            logger.warning(
                "the gates were fitted with --ablation %s, not %s", fitted, config.ablation
            )
    values = gate_values(gates).detach()
    if values.shape != exists.shape:
        raise GateError(
            f"the gates are {tuple(values.shape)}, the model has {exists.shape[0]} layers x "
            f"{exists.shape[1]} {UNIT_NAMES[config.unit][1]}; they belong to another model, or "
            "were fitted with another --unit"
        )
    return values


def _method(config: AblationConfig) -> Method:
    if config.mode == "estimate":
        return "estimate"
    return "screening" if config.screening else "exact"


def head_order(config: AblationConfig, exists: Bool[Tensor, "layer head"]) -> list[Head]:
    """List heads in the order in which they are taken out; individual ablation goes forward."""
    heads: list[Head] = [(layer, head) for layer, head in exists.nonzero().tolist()]
    if config.mode != "sequential" or config.ablation_order == "forward":
        return heads
    if config.ablation_order == "backward":
        return heads[::-1]
    shuffled = np.random.default_rng(config.seed).permutation(len(heads))
    return [heads[i] for i in shuffled]


@dataclass(frozen=True)
class _Job:
    """Evaluations of one ablation run, each with its progress bar."""

    model: nn.Module
    data: TokenData
    config: AblationConfig
    baseline: Float[Tensor, "layer head"]
    reference: Reference | None
    show_progress: bool

    def run(self, heads: list[Head]) -> tuple[float, tuple[HeadScore, ...], tuple[Step, ...]]:
        """Measure the metric at the baseline, and scores of heads or the steps of a sequence."""
        method, confirm = _method(self.config), self.config.confirm
        if method == "estimate":
            metric, scored = self.estimate(heads)
        else:
            scores = self.evaluate(heads)
            metric = scores[0].metric
            if self.config.mode == "sequential":
                return metric, (), _steps(heads, scores)
            scored = _head_scores(heads, scores, exact=method == "exact")
        if confirm:
            metric, scored = self.confirm(scored)
        return metric, scored, ()

    def evaluate(self, heads: list[Head], *, exactly: bool = False) -> list[SequenceScores]:
        """Score the baseline and every matrix with heads out, screened if the settings say so."""
        config = self.config
        screening = config.screening and not exactly
        capabilities(self.model)  # found out in the model's own precision
        precision: AbstractContextManager[None] = nullcontext()
        if screening or exactly:
            precision = matmul_dtype(self.model, torch.bfloat16 if screening else torch.float32)
        sequential = config.mode == "sequential"
        matrices = (closed_in_turn if sequential else closed_alone)(self.baseline, heads)
        what = "confirming heads" if exactly else "ablating heads"
        with precision, progress_bar(len(heads), what, show=self.show_progress, unit="head") as bar:
            return evaluate_gates(
                self.model,
                self.data,
                matrices,
                batch_size=config.batch_size,
                controls=screening and config.mode == "individual",
                reference=self.reference,
                metric=config.metric,
                on_progress=lambda share: bar.update(share * len(heads)),
            )

    def estimate(self, heads: list[Head]) -> tuple[float, tuple[HeadScore, ...]]:
        """Measure the metric at the baseline, and estimate the scores."""
        with progress_bar(
            len(heads), "estimating scores", show=self.show_progress, unit="head"
        ) as bar:
            options = EvaluationOptions(
                self.config.batch_size, on_progress=lambda share: bar.update(share * len(heads))
            )
            opened = open_engine(self.model, reference=self.reference, metric=self.config.metric)
            with opened as engine:
                scores, metric = estimate_scores(engine, self.data, self.baseline, options)
        return metric, tuple(
            HeadScore(layer, head, float(scores[layer, head]), None, exact=False)
            for layer, head in heads
        )

    def confirm(self, scored: tuple[HeadScore, ...]) -> tuple[float, tuple[HeadScore, ...]]:
        """Score the strongest and the most neutral heads exactly; the others stay as they are."""
        ranked = sorted(scored, key=lambda head: abs(head.score))
        count = self.config.confirm
        chosen = {(head.layer, head.head) for head in [*ranked[:count], *ranked[-count:]]}
        heads = sorted(chosen)
        scores = self.evaluate(heads, exactly=True)
        exact = {(h.layer, h.head): h for h in _head_scores(heads, scores, exact=True)}
        merged = tuple(exact.get((head.layer, head.head), head) for head in scored)
        return scores[0].metric, merged


def _head_scores(
    heads: list[Head], scores: list[SequenceScores], *, exact: bool
) -> tuple[HeadScore, ...]:
    baseline, *ablated = scores
    return tuple(
        HeadScore(layer, head, *score_difference(after, baseline), exact=exact)
        for (layer, head), after in zip(heads, ablated, strict=True)
    )


def _steps(heads: list[Head], scores: list[SequenceScores]) -> tuple[Step, ...]:
    baseline = scores[0]
    steps = []
    for i, (layer, head) in enumerate(heads, start=1):
        score, stderr = score_difference(scores[i], baseline)
        delta, _ = score_difference(scores[i], scores[i - 1])
        metric = scores[i].metric
        steps.append(Step(i, layer, head, metric, score, delta, stderr))
    return tuple(steps)

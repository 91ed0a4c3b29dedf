"""Taking heads out and measuring what happens (METHOD.md, Ablation and importance scores).

A job is a list of gate matrices: the baseline first, then one per step, each scored by
`evaluate_gates`. `score = metric(ablated) - metric(baseline)` in nats per token, metric = mean
log-probability of target tokens. Negative: important. Positive: anti-important. A head that is out
is zero, its mean, or its output elsewhere (`references.py`).

Standard errors treat sequences as the independent units and the metric as a ratio of sums
(nats over tokens), so that rows of different lengths count as they do in the metric.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from chg.ablation.estimate import estimate_scores
from chg.ablation.scores import head_scores, score_difference
from chg.config import UNIT_NAMES, AblationConfig, Head
from chg.data import TokenData
from chg.engine import SequenceScores, capabilities, evaluate_gates
from chg.errors import GateError, ModelError
from chg.gating import HeadGates, Reference, attach, describe_reference, with_reference
from chg.models import AnyModel, describe_model, existing_heads, matmul_dtype, unwrap_model
from chg.progress import progress_bar
from chg.results import AblationResult, HeadScore, Method, Step, describe_config, package_versions

logger = logging.getLogger(__name__)


def ablate_heads(
    model: AnyModel,
    data: TokenData,
    config: AblationConfig | None = None,
    *,
    gates: HeadGates | None = None,
    reference: TokenData | None = None,
    show_progress: bool = True,
    **settings: Any,
) -> AblationResult:
    """Ablate heads one at a time, or one after another.

    Args:
        model: a causal language model; left exactly as it was.
        data: rows whose target tokens are scored.
        config: all settings; or give single ones as keywords, `mode="sequential"`.
        gates: the baseline all other heads stay at; all heads open if not given.
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
    exists = existing_heads(model, config.unit)
    baseline = torch.ones(exists.shape) if gates is None else gates.values
    fitted = config.ablation if gates is None else gates.metadata.get("ablation", config.ablation)
    if fitted != config.ablation:
        logger.warning("the gates were fitted with --ablation %s, not %s", fitted, config.ablation)
    if baseline.shape != exists.shape:
        raise GateError(
            f"the gates are {tuple(baseline.shape)}, the model has {exists.shape[0]} layers x "
            f"{exists.shape[1]} {UNIT_NAMES[config.unit]}s; they belong to another model, or were "
            "fitted with another --unit"
        )
    attach(model, baseline).remove()  # the checks, once, before the work
    heads = head_order(config, exists)
    began = time.perf_counter()
    data, fill = with_reference(model, data, config, reference)
    metric, scored, steps = _Job(model, data, config, baseline, fill, show_progress).run(heads)
    return AblationResult(
        mode=config.mode,
        model=describe_model(model)["model"],
        dataset=data.name,
        baseline=metric,
        num_sequences=len(data),
        num_target_tokens=data.num_target_tokens,
        seconds=time.perf_counter() - began,
        num_layers=exists.shape[0],
        num_heads=exists.shape[1],
        unit=config.unit,
        ablation=config.ablation,
        method=_method(config),
        order=config.ablation_order if config.mode == "sequential" else None,
        heads=scored,
        steps=steps,
        metadata={
            **describe_model(model),
            **describe_reference(fill),
            "data_fingerprint": data.fingerprint,
            "gates": None if gates is None else gates.metadata,
            "configuration": describe_config(config),
            "versions": package_versions(),
        },
    )


def _method(config: AblationConfig) -> Method:
    if config.mode == "estimate":
        return "estimate"
    return "screening" if config.screening else "exact"


def head_order(config: AblationConfig, exists: Bool[Tensor, "layer head"]) -> list[Head]:
    """The order in which heads are taken out; individual ablation goes forward."""
    heads: list[Head] = [(layer, head) for layer, head in exists.nonzero().tolist()]
    if config.mode != "sequential" or config.ablation_order == "forward":
        return heads
    if config.ablation_order == "backward":
        return heads[::-1]
    shuffled = np.random.default_rng(config.seed).permutation(len(heads))
    return [heads[i] for i in shuffled]


class _Job:
    """Evaluations of one ablation run, each with its progress bar."""

    def __init__(
        self,
        model: nn.Module,
        data: TokenData,
        config: AblationConfig,
        baseline: Tensor,
        reference: Reference | None,
        show: bool,
    ) -> None:
        self._model = model
        self._data = data
        self._config = config
        self._baseline = baseline
        self._reference = reference
        self._show = show

    def run(self, heads: list[Head]) -> tuple[float, tuple[HeadScore, ...], tuple[Step, ...]]:
        """The metric at the baseline, and scores of heads or the steps of a sequence."""
        method, confirm = _method(self._config), self._config.confirm
        if method == "estimate":
            metric, scored = self.estimate(heads)
        else:
            scores = self.evaluate(heads)
            metric = scores[0].mean_target_logprob
            if self._config.mode == "sequential":
                return metric, (), _steps(heads, scores)
            scored = head_scores(heads, scores, exact=method == "exact")
        if confirm:
            metric, scored = self.confirm(scored)
        return metric, scored, ()

    def evaluate(self, heads: list[Head], *, exactly: bool = False) -> list[SequenceScores]:
        """The scores at the baseline and with heads taken out, screened if the settings say so."""
        config = self._config
        screening = config.screening and not exactly
        capabilities(self._model)  # found out in the model's own precision
        precision: AbstractContextManager[None] = nullcontext()
        if screening or exactly:
            precision = matmul_dtype(self._model, torch.bfloat16 if screening else torch.float32)
        what = "confirming heads" if exactly else "ablating heads"
        with precision, progress_bar(len(heads), what, show=self._show, unit="head") as bar:
            scores = evaluate_gates(
                self._model,
                self._data,
                _matrices(config, self._baseline, heads),
                batch_size=config.batch_size,
                controls=screening and config.mode == "individual",
                reference=self._reference,
                on_progress=lambda share: bar.update(share * len(heads)),
            )
        if not all(np.isfinite(score.mean_target_logprob) for score in scores):
            raise ModelError(
                "the model's log-probabilities are NaN or infinite; try --dtype float32, or check "
                "the model"
            )
        return scores

    def estimate(self, heads: list[Head]) -> tuple[float, tuple[HeadScore, ...]]:
        """The metric at the baseline, and estimated scores."""
        with progress_bar(100, "estimating scores", show=self._show, unit="%") as bar:
            scores, metric = estimate_scores(
                self._model,
                self._data,
                self._baseline,
                batch_size=self._config.batch_size,
                reference=self._reference,
                on_progress=lambda share: bar.update(100 * share),
            )
        if not bool(scores.isfinite().all()):
            raise ModelError("the gradients are NaN or infinite; try --dtype float32")
        return metric, tuple(
            HeadScore(layer, head, float(scores[layer, head]), None, exact=False)
            for layer, head in heads
        )

    def confirm(self, scored: tuple[HeadScore, ...]) -> tuple[float, tuple[HeadScore, ...]]:
        """The same scores, those of the strongest and of the most neutral heads exact."""
        ranked = sorted(scored, key=lambda head: abs(head.score))
        count = self._config.confirm
        chosen = {(head.layer, head.head) for head in [*ranked[:count], *ranked[-count:]]}
        heads = sorted(chosen)
        scores = self.evaluate(heads, exactly=True)
        exact = {(h.layer, h.head): h for h in head_scores(heads, scores, exact=True)}
        merged = tuple(exact.get((head.layer, head.head), head) for head in scored)
        return scores[0].mean_target_logprob, merged


def _matrices(
    config: AblationConfig, baseline: Float[Tensor, "layer head"], heads: list[Head]
) -> Iterator[Float[Tensor, "layer head"]]:
    yield baseline
    gates = baseline.clone()
    for layer, head in heads:
        if config.mode != "sequential":
            gates = baseline.clone()
        gates[layer, head] = 0
        yield gates.clone()


def _steps(heads: list[Head], scores: list[SequenceScores]) -> tuple[Step, ...]:
    baseline = scores[0]
    steps = []
    for i, (layer, head) in enumerate(heads, start=1):
        score, stderr = score_difference(scores[i], baseline)
        delta, _ = score_difference(scores[i], scores[i - 1])
        metric = scores[i].mean_target_logprob
        steps.append(Step(i, layer, head, metric, score, delta, stderr))
    return tuple(steps)

"""A model opened once for many passes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor, nn

from chg.config import Recompute
from chg.data import Batch
from chg.engine.capabilities import capabilities
from chg.engine.log_probs import score_hidden, target_scores
from chg.engine.partial_forward import PartialForward
from chg.errors import ConfigError
from chg.gating import Reference, gated, repeat_for_rows
from chg.models import find_head_sites, uncompiled


def max_shared_length(model: nn.Module, reference: Reference | None) -> int:
    """Length up to which rows may share a beginning; none where each has its own reference."""
    return (
        0 if reference is not None and reference.by_row else capabilities(model).max_shared_length
    )


@contextmanager
def partial_forward(
    model: nn.Module, recompute: Recompute = "none"
) -> Iterator[PartialForward | None]:
    """The model ready for passes of parts, or None where it takes plain passes alone.

    Raises:
        ConfigError: `recompute` cannot be done in this model.
    """
    with uncompiled():
        can = capabilities(model)
        if can.outputs is None:
            if recompute != "none":
                raise ConfigError(
                    f"{type(model).__name__} runs only as a whole: --recompute does not apply to it"
                )
            yield None
            return
        inside = can.mode == "inside"
        sites = find_head_sites(model)
        with PartialForward(
            model, sites, can.outputs, inside=inside, recompute=recompute
        ) as forward:
            yield forward


TOKENS_PER_PASS = 2048
"""Tokens per pass on a CPU; 512 to 8192 are within a tenth of each other."""
TOKENS_PER_PASS_ON_ACCELERATOR = 32_768


def token_budget(device: torch.device) -> int:
    """Tokens per pass, about."""
    return TOKENS_PER_PASS if device.type == "cpu" else TOKENS_PER_PASS_ON_ACCELERATOR


def logprobs_of_fits(
    model: nn.Module,
    gates: Float[Tensor, "fit layer head"],
    batch: Batch,
    forward: PartialForward | None = None,
    reference: Reference | None = None,
) -> Float[Tensor, "fit sequence"]:
    """Mean target log-probability of every sequence under every fit's gates, in one pass.

    Each row is repeated once per fit and given that fit's gate matrix. Gradients reach `gates`.
    With `forward`, only what is scored is carried above the last attention. With `reference`, gates
    blend heads with it.
    """
    fits = gates.shape[0]
    many = batch.repeat(fits)
    rows = batch.input_ids.shape[0]
    fill = None if reference is None else reference.of(model, batch)
    if forward is not None:
        per_row = forward.sites.per_head(gates).repeat_interleave(rows, dim=0)
        leaving, _ = forward.run(many.inputs, per_row, many.scored, reference=fill)
        scores = score_hidden(forward.head, leaving, many)
    else:
        # One gate matrix for all rows spares the batch its copy of the gates.
        per_row = gates[0] if fits == 1 else gates.repeat_interleave(rows, dim=0)
        if fill is not None:
            fill = {layer: repeat_for_rows(value, fits * rows) for layer, value in fill.items()}
        with gated(model, per_row, reference=fill, check=False):
            scores = target_scores(model, many)
    return scores.mean_logprobs().view(fits, len(batch))

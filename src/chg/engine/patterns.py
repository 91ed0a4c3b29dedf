"""Attention patterns on repeated random tokens (docs/method.md#attention-patterns).

1. Rows are random tokens, then the same tokens again, after the token that begins a text if the
   model has one.
2. They run through the model with eager attention, a few at a time. Every attention module hands
   its weights out beside its output; a hook reduces them to three means at once, so that the
   weights of one layer alone are in memory.
3. What a module hands out is taken for attention only where it is: one map per head, no weight
   below 0 or on a later token, and none of more than 1 in all.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor, nn

from chg.config import Unit
from chg.errors import ConfigError, ModelError, reason
from chg.models import (
    AnyModel,
    HeadSite,
    HeadSites,
    SharedModule,
    eager_attention,
    find_head_sites,
    frozen,
    input_device,
    model_name,
    plain_torch,
    text_config,
    uncompiled,
    unwrap_model,
)
from chg.progress import progress_bar
from chg.results import PATTERNS, AttentionPatterns

ROWS = 16
LENGTH = 32
"""Random tokens of a row, each there twice; fewer where the model has fewer positions or tokens."""
SHORTEST = 3
"""Fewest of them."""
LONGEST = 2 * LENGTH + 1
"""Tokens of a row in all, at most."""
ROWS_PER_PASS = 4
PATTERN_TOKENS = ROWS * LONGEST
"""Tokens of all rows, at most."""
ABOVE_ALL = 1.01
"""Sum of a token's attention, at most: rounding in bfloat16 is allowed for."""

logger = logging.getLogger(__name__)


@plain_torch()
def attention_patterns(
    model: AnyModel,
    *,
    unit: Unit = "head",
    tokens: Sequence[int] | None = None,
    seed: int = 0,
    show_progress: bool = True,
) -> AttentionPatterns:
    """Measure where every head looks on random tokens that are repeated.

    Args:
        model: a causal language model; left exactly as it was.
        unit: of a `kv_group`, the scores are those of its strongest head; MLP blocks have none.
        tokens: ids to draw from, for a model that knows few; all but special ones if not given.
        seed: draws the tokens.
        show_progress: a progress bar, on a terminal.

    Raises:
        ArchitectureError: the model's heads, or the MLPs of its unit, cannot be found.
        ConfigError: `tokens` are not all of the model's.
        ModelError: no layer gives its attention away, or the model has too few tokens or positions.

    Example:
        >>> patterns = attention_patterns(model)  # doctest: +SKIP
        >>> (patterns.induction > 0.4).nonzero()  # doctest: +SKIP
    """
    model = unwrap_model(model)
    sites = find_head_sites(model)
    rows = _repeated_rows(model, tokens, seed)
    with (
        torch.no_grad(),
        frozen(model),
        uncompiled(),
        eager_attention(model),
        progress_bar(ROWS, "reading attention", show=show_progress, unit="row") as bar,
    ):
        reader = _Reader(sites, rows)
        try:
            for some in rows.ids.split(ROWS_PER_PASS):
                reader.read(model, some)
                bar.update(len(some))
        except Exception as error:  # whatever a model does that runs another attention than its own
            raise _unreadable(model, reason(error)) from error
    if not reader.uses.any():
        raise _unreadable(model, "its layers do not give their weights away")
    unread = [str(site.layer) for site in sites if not reader.uses[site.layer]]
    if unread:
        logger.info("attention patterns cannot be read in layers %s", ", ".join(unread))
    scores = _by_unit(reader.means, sites, unit)
    return AttentionPatterns(
        model=model_name(model),
        **dict(zip(PATTERNS, scores, strict=True)),
        rows=ROWS,
        length=rows.length,
        unit=unit,
    )


@dataclass(frozen=True)
class _Rows:
    """Rows of random tokens that are there twice."""

    ids: Int[Tensor, "row pos"]
    start: int
    """Position of the first random token: 1 after a token that begins a text, otherwise 0."""
    length: int
    """Random tokens of a row, each there twice."""


def _repeated_rows(model: nn.Module, tokens: Sequence[int] | None, seed: int) -> _Rows:
    """Draw the rows, no token twice in one half."""
    config = text_config(model)
    vocabulary = range(model.get_input_embeddings().weight.shape[0])  # type: ignore[operator]
    special = _special_tokens(getattr(model, "config", None)) | _special_tokens(config)
    usable = sorted(set(vocabulary) - special if tokens is None else set(tokens))
    if not set(usable) <= set(vocabulary):
        raise ConfigError(f"tokens must be ids from 0 to {vocabulary[-1]}")
    begin: Any = getattr(config, "bos_token_id", None)
    beginning = [torch.full((ROWS, 1), begin)] if begin in vocabulary else []
    stated = getattr(config, "max_position_embeddings", None)
    positions = stated if isinstance(stated, int) else LONGEST
    length = min(LENGTH, len(usable), (positions - len(beginning)) // 2)
    if length < SHORTEST:
        has = f"{positions} positions and {len(usable)} tokens"
        raise _unreadable(model, f"it has {has}, too few to repeat random ones")
    generator = torch.Generator().manual_seed(seed)
    orders = [torch.randperm(len(usable), generator=generator)[:length] for _ in range(ROWS)]
    drawn = torch.tensor(usable)[torch.stack(orders)]
    return _Rows(torch.cat([*beginning, drawn, drawn], dim=1), len(beginning), length)


def _special_tokens(config: Any) -> set[int]:
    """Token ids that a configuration gives a meaning: those that begin, end and pad, or images."""
    special: set[int] = set()
    for name, value in vars(config).items() if config is not None else ():
        if name.endswith(("token_id", "token_ids", "token_index")):
            ids = value if isinstance(value, list | tuple) else [value]
            special.update(one for one in ids if isinstance(one, int))
    return special


class _Reader:
    """Sums of the three means over passes, layer by layer."""

    def __init__(self, sites: HeadSites, rows: _Rows) -> None:
        self._sites, self._rows = sites, rows
        self._sums = np.zeros((len(PATTERNS), *sites.shape))
        self.uses = np.zeros(sites.num_layers)
        """Rows whose attention was read, by layer; several times where a layer runs so often."""

    @property
    def means(self) -> NDArray[np.float64]:
        """The scores, `[pattern, layer, head]`; NaN where nothing was read, and for no head."""
        with np.errstate(invalid="ignore"):
            means = self._sums / self.uses[:, None]
        return np.where(self._sites.existing().numpy(), means, np.nan)

    def read(self, model: nn.Module, ids: Int[Tensor, "row pos"]) -> None:
        """Run some rows, and add what every head looks at."""
        turns: dict[nn.Module, SharedModule[HeadSite]] = {}
        for site in self._sites:
            turns.setdefault(site.attention, SharedModule()).add(site)
        ids = ids.to(input_device(model))
        with ExitStack() as hooks:
            for attention, layers in turns.items():
                asked = attention.register_forward_pre_hook(_ask, with_kwargs=True)
                hooks.callback(asked.remove)
                added = attention.register_forward_hook(partial(self._add, layers))
                hooks.callback(added.remove)
            model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False)

    def _add(
        self, layers: SharedModule[HeadSite], _module: nn.Module, _args: Any, output: Any
    ) -> None:
        """Add the scores of the layer whose turn it is."""
        site = layers.next()
        for weights in output if isinstance(output, tuple) else ():
            if _is_attention(weights, site.num_heads):
                scores = self._scores(weights).sum(dim=1).cpu()
                self._sums[:, site.layer, : site.num_heads] += scores.double().numpy()
                self.uses[site.layer] += len(weights)
                return

    def _scores(
        self, weights: Float[Tensor, "row head pos pos"]
    ) -> Float[Tensor, "pattern row head"]:
        """Mean attention to the token before, to a token's first place, and to the place after."""
        start, length = self._rows.start, self._rows.length
        distances = {1: start, length: start, length - 1: start + 1}
        return torch.stack(
            [
                weights.diagonal(-back, -2, -1)[..., first:].float().mean(dim=-1)
                for back, first in distances.items()
            ]
        )


def _ask(_module: nn.Module, args: Any, settings: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Ask an attention module alone for weights that it gives on demand; layers would keep them."""
    asked = {"output_attentions": True} if "output_attentions" in settings else {}
    return args, settings | asked


def _is_attention(weights: Any, heads: int) -> bool:
    """Tell maps of causal attention, `[row, head, query, key]`, from what else is handed out."""
    if not isinstance(weights, Tensor) or weights.dim() != 4 or weights.shape[1] != heads:
        return False
    if weights.shape[-1] != weights.shape[-2] or not weights.is_floating_point():
        return False
    causal = not weights.triu(1).any()
    return causal and bool((weights >= 0).all() and (weights.sum(-1) <= ABOVE_ALL).all())


def _by_unit(scores: NDArray[np.float64], sites: HeadSites, unit: Unit) -> NDArray[np.float64]:
    """Arrange scores as a gate matrix, `[pattern, layer, column]`; MLP blocks have none.

    Of every key-value group those of its strongest head.
    """
    groups = np.full((len(scores), *sites.unit_shape(unit)), np.nan)
    if unit != "kv_group":
        groups[..., : sites.shape[1]] = scores
        return groups
    for site in sites:
        of_heads = scores[:, site.layer, : site.num_heads]
        strongest = of_heads.reshape(len(scores), site.num_kv_heads, -1).max(axis=-1)
        groups[:, site.layer, : site.num_kv_heads] = strongest
    return groups


def _unreadable(model: nn.Module, why: str) -> ModelError:
    return ModelError(f"the attention patterns of {type(model).__name__} cannot be read: {why}")

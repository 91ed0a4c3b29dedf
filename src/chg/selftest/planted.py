"""Models whose heads' roles are known because their weights are written by hand.

A GPT-2 of 2 layers x 4 heads without MLPs. Attention is uniform. Token `t < 16` is coordinate `t`
of the residual stream; a head's value is that token, and its output projection writes it, times a
coefficient, into coordinates 16 to 31, which the unembedding reads. So with rows `[t, separator]`
and target `t`, a head with a positive coefficient helps, one with a negative coefficient harms, and
one that writes next to nothing into coordinates nobody reads does nothing. Each helpful head reads
half of the tokens, so that neither can replace the other.

Two heads of one layer with the same reads and coefficient are exact duplicates, of which either
suffices: the last layer norm brings whatever was written to one length, so that a single duplicate
answers as well as both, and without both there is no answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from chg.config import Head
from chg.data import TokenData, TokenRow

if TYPE_CHECKING:
    from transformers import GPT2LMHeadModel


TOKENS = 16
SEPARATOR = 16
LAYERS, HEADS, D_HEAD = 2, 4, 16
ANSWER = slice(16, 32)
"""Coordinates the unembedding reads. They are also the *output slice* of head 1."""
UNREAD = slice(48, 64)
"""Coordinates that nothing reads."""

HELPFUL: dict[Head, float] = {(0, 0): 1.0, (1, 2): 1.0}
HARMFUL: dict[Head, float] = {(0, 3): -0.5}
READS = {(0, 0): slice(0, 8), (1, 2): slice(8, 16)}
ROLES = {
    (layer, head): "facilitating"
    if (layer, head) in HELPFUL
    else "interfering"
    if (layer, head) in HARMFUL
    else "irrelevant"
    for layer in range(LAYERS)
    for head in range(HEADS)
}

DUPLICATES: tuple[Head, Head] = ((0, 0), (0, 2))
"""Heads of `redundant_model` that are exact duplicates."""
SINGLE: Head = (1, 1)
"""Head of `redundant_model` that nothing replaces."""


def planted_model(
    coefficients: Mapping[Head, float] | None = None, reads: Mapping[Head, slice] | None = None
) -> GPT2LMHeadModel:
    """Make the model and write its weights.

    Args:
        coefficients: what each head that matters writes; `HELPFUL` and `HARMFUL` if not given.
        reads: the tokens a head reads, if not all; `READS` if not given.
    """
    from transformers import GPT2Config, GPT2LMHeadModel

    coefficients = {**HELPFUL, **HARMFUL} if coefficients is None else coefficients
    reads = READS if reads is None else reads
    config = GPT2Config(
        n_layer=LAYERS,
        n_head=HEADS,
        n_embd=HEADS * D_HEAD,
        n_positions=8,
        vocab_size=TOKENS + 2,
        tie_word_embeddings=False,
        bos_token_id=0,
        eos_token_id=0,
    )
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        model: Any = GPT2LMHeadModel(config)
        for name, weight in model.named_parameters():
            weight.fill_(1.0 if name.endswith(("ln_1.weight", "ln_f.weight")) else 0.0)
        for token in range(TOKENS):
            model.transformer.wte.weight[token, token] = 1.0
            model.lm_head.weight[token, ANSWER.start + token] = 0.5
        for separator in (SEPARATOR, SEPARATOR + 1):
            model.transformer.wte.weight[separator, 32 + separator - SEPARATOR] = 1.0
        for layer, block in enumerate(model.transformer.h):
            for head in range(HEADS):
                read = reads.get((layer, head), slice(0, TOKENS))
                _plant(block.attn, head, coefficients.get((layer, head)), read)
    planted: GPT2LMHeadModel = model.eval()
    return planted


def redundant_model() -> GPT2LMHeadModel:
    """Make a model with two duplicates for half of the tokens, and one head for the other half."""
    first, second = DUPLICATES
    half, rest = slice(0, 8), slice(8, 16)
    # At 0.9 a single duplicate answers about as well as both; much above, the gate of the duplicate
    # that is left need not stay wide open.
    return planted_model(
        {first: 0.9, second: 0.9, SINGLE: 0.8}, {first: half, second: half, SINGLE: rest}
    )


def _plant(attn: Any, head: int, coefficient: float | None, chosen: slice) -> None:
    """Write a head's value and output projections; without a coefficient, into what is not read."""
    outputs = slice(head * D_HEAD, (head + 1) * D_HEAD)
    values = slice(2 * HEADS * D_HEAD + outputs.start, 2 * HEADS * D_HEAD + outputs.stop)
    read = torch.zeros(TOKENS, D_HEAD)
    read[range(TOKENS)[chosen], range(TOKENS)[chosen]] = 1.0
    attn.c_attn.weight[:TOKENS, values] = read
    if coefficient is None:
        attn.c_proj.weight[outputs, UNREAD] = 0.01 * torch.randn(D_HEAD, D_HEAD)
    else:
        attn.c_proj.weight[outputs, ANSWER] = coefficient * torch.eye(D_HEAD)


def copy_rows(count: int, seed: int = 0, tokens: range = range(TOKENS)) -> TokenData:
    """Rows `[t, separator, t]` of which the last token is scored, `t` drawn from `tokens`."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(len(tokens), (count,), generator=generator).tolist()
    rows = tuple(TokenRow((tokens[i], SEPARATOR, tokens[i]), (False, False, True)) for i in drawn)
    return TokenData(rows, f"copy-{tokens.start}-{tokens.stop}", 0)

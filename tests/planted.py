"""Models whose heads' roles are known because their weights are written by hand.

A GPT-2 of 2 layers x 4 heads without MLPs. Attention is uniform. Token `t < 16` is coordinate `t`
of the residual stream; a head's value is that token, and its output projection writes it, times a
coefficient, into coordinates 16 to 31, which the unembedding reads. So with rows `[t, separator]`
and target `t`, a head with a positive coefficient helps, one with a negative coefficient harms, and
one that writes next to nothing into coordinates nobody reads does nothing. Each helpful head reads
half of the tokens, so that neither can replace the other.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel

from chg.data.tokens import TokenData, TokenRow

TOKENS = 16
SEPARATOR = 16
LAYERS, HEADS, D_HEAD = 2, 4, 16
ANSWER = slice(16, 32)
"""Coordinates the unembedding reads. They are also the *output slice* of head 1."""
UNREAD = slice(48, 64)

HELPFUL = {(0, 0): 1.0, (1, 2): 1.0}
HARMFUL = {(0, 3): -0.5}
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


def planted_model(
    coefficients: Mapping[tuple[int, int], float] | None = None,
    reads: Mapping[tuple[int, int], slice] | None = None,
) -> GPT2LMHeadModel:
    """Write the weights.

    Args:
        coefficients: what each head that matters writes; `HELPFUL` and `HARMFUL` if not given.
        reads: the tokens a head reads, if not all; `READS` if not given.
    """
    coefficients = {**HELPFUL, **HARMFUL} if coefficients is None else coefficients
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
    torch.manual_seed(0)
    model = GPT2LMHeadModel(config)
    reads = READS if reads is None else reads
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.fill_(1.0 if name.endswith(("ln_1.weight", "ln_f.weight")) else 0.0)
        for token in range(TOKENS):
            model.transformer.wte.weight[token, token] = 1.0
            model.lm_head.weight[token, ANSWER.start + token] = 0.5
        for separator in (SEPARATOR, SEPARATOR + 1):
            model.transformer.wte.weight[separator, 32 + separator - SEPARATOR] = 1.0
        for layer, block in enumerate(model.transformer.h):
            for head in range(HEADS):
                _plant(
                    block.attn,
                    head,
                    coefficients.get((layer, head)),
                    layer,
                    READS if reads is None else reads,
                )
    return model.eval()


def _plant(
    attn: torch.nn.Module,
    head: int,
    coefficient: float | None,
    layer: int,
    reads: Mapping[tuple[int, int], slice],
) -> None:
    values = slice(2 * HEADS * D_HEAD + head * D_HEAD, 2 * HEADS * D_HEAD + (head + 1) * D_HEAD)
    read = torch.zeros(TOKENS, D_HEAD)
    chosen = reads.get((layer, head), slice(0, TOKENS))
    read[range(TOKENS)[chosen], range(TOKENS)[chosen]] = 1.0
    attn.c_attn.weight[:TOKENS, values] = read
    own = slice(head * D_HEAD, (head + 1) * D_HEAD)
    if coefficient is None:
        attn.c_proj.weight[own, UNREAD] = 0.01 * torch.randn(D_HEAD, D_HEAD)
    else:
        attn.c_proj.weight[own, ANSWER] = coefficient * torch.eye(D_HEAD)


def copy_rows(count: int, seed: int = 0, tokens: range = range(TOKENS)) -> TokenData:
    """Rows `[t, separator, t]` of which the last token is scored."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(len(tokens), (count,), generator=generator).tolist()
    rows = tuple(TokenRow((tokens[i], SEPARATOR, tokens[i]), (False, False, True)) for i in drawn)
    return TokenData(rows, f"copy-{tokens.start}-{tokens.stop}", 0)


def mean_logprob(model: GPT2LMHeadModel, data: TokenData) -> Tensor:
    """The metric, computed in the plainest possible way."""
    total, count = torch.zeros(()), 0
    for row in data.rows:
        logits = model(torch.tensor([row.ids])).logits[0].float().log_softmax(-1)
        for position, scored in enumerate(row.scored):
            if scored:
                total = total + logits[position - 1, row.ids[position]]
                count += 1
    return total / count

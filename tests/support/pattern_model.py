"""A model whose heads look where they are told to, its weights written by hand.

A GPT-2 of 2 layers x 4 heads of 32 values, without MLPs. In the residual stream, coordinates 0 to
15 say which token stands at a position, 16 to 31 which position that is, and 32 to 47 which token
stands before, once a head of layer 0 has written that. All other heads look everywhere alike.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import GPT2Config, GPT2LMHeadModel

SIZE, WIDTH = 16, 32
TOKEN, POSITION, BEFORE = (slice(start, start + SIZE) for start in (0, SIZE, 2 * SIZE))
PREVIOUS, DUPLICATE, INDUCTION = (0, 0), (0, 1), (1, 2)


def pattern_model() -> GPT2LMHeadModel:
    """Make the model, with token 0 at the beginning of texts."""
    config = GPT2Config(
        n_layer=2, n_head=4, n_embd=4 * WIDTH, n_positions=SIZE, vocab_size=SIZE,
        tie_word_embeddings=False, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    model: Any = GPT2LMHeadModel(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.fill_(1.0 if name.endswith(("ln_1.weight", "ln_f.weight")) else 0.0)
        same = torch.eye(SIZE)
        model.transformer.wte.weight[:, TOKEN] = same
        model.transformer.wpe.weight[:, POSITION] = same
        first, second = (block.attn for block in model.transformer.h)
        # A position asks for the one before it, and what is found there is written down.
        _look(first, PREVIOUS, POSITION, POSITION, same.roll(-1, dims=1))
        first.c_attn.weight[TOKEN, 8 * WIDTH : 8 * WIDTH + SIZE] = same
        first.c_proj.weight[:SIZE, BEFORE] = same / 4
        # A token asks for itself, and is not to be found where it stands.
        _look(first, DUPLICATE, TOKEN, TOKEN, same)
        _look(first, DUPLICATE, POSITION, POSITION, -same, at=SIZE)
        _look(second, INDUCTION, BEFORE, TOKEN, same)
    return model.eval()


def _look(
    attention: Any, head: tuple[int, int], key: slice, query: slice, match: Any, at: int = 0
) -> None:
    """Let a head look at positions whose key is what a position's query asks for."""
    start = head[1] * WIDTH + at
    attention.c_attn.weight[key, 4 * WIDTH + start : 4 * WIDTH + start + SIZE] = torch.eye(SIZE)
    attention.c_attn.weight[query, start : start + SIZE] = match

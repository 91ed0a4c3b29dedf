"""Rows for the planted model (`builtin/planted.py`), in its tokens."""

from __future__ import annotations

import torch

from chg.builtin.planted import SEPARATOR, TOKENS
from chg.data.tokens import TokenData, TokenRow


def copy_rows(count: int, seed: int = 0, tokens: range = range(TOKENS)) -> TokenData:
    """Rows `[t, separator, t]` of which the last token is scored, `t` drawn from `tokens`."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(len(tokens), (count,), generator=generator).tolist()
    rows = tuple(TokenRow((tokens[i], SEPARATOR, tokens[i]), (False, False, True)) for i in drawn)
    return TokenData(rows, f"copy-{tokens.start}-{tokens.stop}", 0)

"""Rows of every shape that batches meet, and plain sums over them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from chg.data.tokens import TokenData, TokenRow
from support.tiny_models import VOCAB


def ragged_data(rows: int = 5) -> TokenData:
    """Rows of 3 tokens and more, scored throughout and at the end in turns."""
    generator = torch.Generator().manual_seed(7)
    made = []
    for i in range(rows):
        ids = torch.randint(1, VOCAB, (3 + 2 * i,), generator=generator).tolist()
        scored = [j > 0 and (i % 2 == 0 or j >= len(ids) - 2) for j in range(len(ids))]
        made.append(TokenRow(tuple(ids), tuple(scored)))
    return TokenData(tuple(made), "ragged", 0)


@torch.no_grad()
def plain_sums(model: nn.Module, data: TokenData) -> np.ndarray:
    """Summed target log-probability of every row, one unpadded forward pass each."""
    sums = []
    for row in data.rows:
        logprobs = model(torch.tensor([row.ids])).logits[0].double().log_softmax(-1)
        sums.append(
            sum(float(logprobs[j - 1, row.ids[j]]) for j in range(len(row.ids)) if row.scored[j])
        )
    return np.array(sums)


def scored_text(tokenizer, row) -> str:  # type: ignore[no-untyped-def]
    """Text of the tokens of a row that are scored."""
    return str(tokenizer.decode([t for t, s in zip(row.ids, row.scored, strict=True) if s]))


def few_shot(rows: int = 6) -> TokenData:
    """Rows that begin alike, of different lengths, and two others that do so another way."""
    generator = torch.Generator().manual_seed(5)

    def draw(count: int) -> list[int]:
        return torch.randint(1, VOCAB, (count,), generator=generator).tolist()

    examples, other = draw(12), draw(9)
    made = []
    for i in range(rows):
        ids = (examples if i < rows - 2 else other) + draw(1 + i % 4)
        made.append(TokenRow(tuple(ids), tuple(j in (3, len(ids) - 1) for j in range(len(ids)))))
    return TokenData(tuple(made), "few-shot", 0)


def write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    """Write rows as JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path

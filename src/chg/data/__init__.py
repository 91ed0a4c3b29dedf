"""Rows of text become token ids and a mask of the tokens that are scored."""

from chg.data.batches import Batch, batches
from chg.data.loading import load_data, load_prompts
from chg.data.partners import with_partners
from chg.data.tokens import TokenData, TokenRow, tokenize_pairs, tokenize_texts

__all__ = [
    "Batch",
    "TokenData",
    "TokenRow",
    "batches",
    "load_data",
    "load_prompts",
    "tokenize_pairs",
    "tokenize_texts",
    "with_partners",
]

"""Rows of text become token ids and a mask of the tokens that are scored."""

from chg.data.batches import Batch, batches
from chg.data.loading import load_data, load_prompts
from chg.data.partners import with_partners
from chg.data.tokens import TokenData, TokenRow, tokenize_pairs, tokenize_texts
from chg.data.tuples import MatchedData, MatchedSplit, load_tuples, split_tuples

__all__ = [
    "Batch",
    "MatchedData",
    "MatchedSplit",
    "TokenData",
    "TokenRow",
    "batches",
    "load_data",
    "load_prompts",
    "load_tuples",
    "split_tuples",
    "tokenize_pairs",
    "tokenize_texts",
    "with_partners",
]

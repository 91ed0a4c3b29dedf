"""Rows of text as token ids, with a mask of the tokens that are scored."""

from chg.data.batches import LONGEST_PACK, Batch, batches, collate, gather, pack_shared_prefix
from chg.data.loading import load_data, load_held_out, load_prompts, with_corrupted_column
from chg.data.partners import with_partners
from chg.data.tokens import TokenData, TokenRow, tokenize_pairs, tokenize_texts
from chg.data.tuples import (
    MatchedData,
    MatchedSplit,
    load_held_out_tuples,
    load_tuples,
    split_tuples,
)

__all__ = [
    "LONGEST_PACK",
    "Batch",
    "MatchedData",
    "MatchedSplit",
    "TokenData",
    "TokenRow",
    "batches",
    "collate",
    "gather",
    "load_data",
    "load_held_out",
    "load_held_out_tuples",
    "load_prompts",
    "load_tuples",
    "pack_shared_prefix",
    "split_tuples",
    "tokenize_pairs",
    "tokenize_texts",
    "with_corrupted_column",
    "with_partners",
]

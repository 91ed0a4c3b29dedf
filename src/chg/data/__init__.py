"""Rows of text as token ids, with a mask of the tokens that are scored."""

from chg.data.batches import LONGEST_PACK, Batch, batches, collate, gather, pack_shared_prefix
from chg.data.exchange import exchange_prompts, is_text
from chg.data.foils import score_at_foils, scored_for
from chg.data.loading import load_data, load_prompts, take_held_out, tokenize_rows
from chg.data.partners import with_partners
from chg.data.rows import (
    RawRows,
    open_held_out,
    open_prompts,
    open_rows,
    split_held_out,
    with_column,
)
from chg.data.sources import is_local
from chg.data.tokenizing import tokenize_pairs, tokenize_texts
from chg.data.tokens import TokenData, TokenRow, require_token_data
from chg.data.tuples import (
    MatchedData,
    MatchedSplit,
    RawTuples,
    load_tuples,
    open_held_out_tuples,
    open_tuples,
    split_tuples,
    tokenize_held_out_tuples,
    tokenize_tuples,
)

__all__ = [
    "LONGEST_PACK",
    "Batch",
    "MatchedData",
    "MatchedSplit",
    "RawRows",
    "RawTuples",
    "TokenData",
    "TokenRow",
    "batches",
    "collate",
    "exchange_prompts",
    "gather",
    "is_local",
    "is_text",
    "load_data",
    "load_prompts",
    "load_tuples",
    "open_held_out",
    "open_held_out_tuples",
    "open_prompts",
    "open_rows",
    "open_tuples",
    "pack_shared_prefix",
    "require_token_data",
    "score_at_foils",
    "scored_for",
    "split_held_out",
    "split_tuples",
    "take_held_out",
    "tokenize_held_out_tuples",
    "tokenize_pairs",
    "tokenize_rows",
    "tokenize_texts",
    "tokenize_tuples",
    "with_column",
    "with_partners",
]

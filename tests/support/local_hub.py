"""A folder that stands in for the hub: a small `gpt2` and a small `wikitext`, loaded for real."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

SENTENCES = [
    "The capital of France is Paris, and the river is called the Seine.",
    "A gate multiplies the output of a head before the projection.",
    "Some heads copy what came before; others do nothing at all.",
    "In the year 1900 the city had more than a million people.",
    "The cat sat on the mat and looked at the dog across the street.",
    "Heads that hurt when removed are important for the task.",
]


def make_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer, of GPT-2's kind, on the sentences."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(SENTENCES * 20, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>")
    fast.save_pretrained(folder)
    return fast


def make_gpt2(folder: Path, **settings: int) -> None:
    """Save a GPT-2 of 2 layers x 4 heads with random weights, and its tokenizer."""
    tokenizer = make_tokenizer(folder)
    torch.manual_seed(0)
    sizes = {"n_layer": 2, "n_head": 4, "n_embd": 32, "n_positions": 128, **settings}
    config = GPT2Config(vocab_size=len(tokenizer), bos_token_id=0, eos_token_id=0, **sizes)
    GPT2LMHeadModel(config).save_pretrained(folder)


def make_wikitext(folder: Path, rows: int = 24) -> None:
    """Write a dataset folder with a `wikitext-2-raw-v1` configuration, empty lines included."""
    config = folder / "wikitext-2-raw-v1"
    config.mkdir(parents=True)
    lines = [
        "" if i % 4 == 0 else f" {SENTENCES[i % 6]} {SENTENCES[(i * 5 + 1) % 6]} \n"
        for i in range(rows)
    ]
    for split, share in (("train", lines), ("validation", lines[: rows // 2]), ("test", lines[:8])):
        pd.DataFrame({"text": share}).to_parquet(config / f"{split}-00000-of-00001.parquet")
    (folder / "README.md").write_text(
        "---\nconfigs:\n- config_name: wikitext-2-raw-v1\n  data_files:\n"
        + "".join(
            f"  - split: {split}\n    path: wikitext-2-raw-v1/{split}-*\n"
            for split in ("train", "validation", "test")
        )
        + "---\n"
    )


def make_hub(folder: Path) -> Path:
    """Make all of it in `folder`."""
    make_gpt2(folder / "gpt2")
    make_wikitext(folder / "wikitext", rows=60)
    return folder

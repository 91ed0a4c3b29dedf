"""Tokenizers of every kind, trained on the rows of tasks: what they keep together differs."""

from __future__ import annotations

from collections.abc import Callable

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from chg.task_rows import tasks
from chg.task_rows.task import _WholeWords

UNKNOWN = "<unk>"


def texts() -> list[str]:
    """Prompts with their targets, of every task and form but those of years, a share of them."""
    rows = [
        row
        for task in tasks().values()
        for config in ("instruction", None)
        if (config is None or config in task.configurations) and not task.goes_on
        for row in task.rows(config, "train", _WholeWords(), 0)[:60]
    ]
    return [f"{row.prompt} {row.target}" for row in rows if row is not None]


def _fast(tokenizer: Tokenizer, **special: str) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)


def byte_level(digits: int = 1) -> PreTrainedTokenizerFast:
    """A byte-level BPE as GPT-2's, which keeps so many digits together."""
    tokenizer = Tokenizer(models.BPE())
    numbers = pre_tokenizers.Split(Regex(rf" ?\d{{1,{digits}}}"), "isolated")
    level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([numbers, level])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1200,
        special_tokens=["<|end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    years = [f" {number:02}" for number in range(100)] * 20
    tokenizer.train_from_iterator([*texts(), *years], trainer)
    return _fast(tokenizer, eos_token="<|end|>", unk_token="<|end|>")


def metaspace() -> PreTrainedTokenizerFast:
    """A BPE that marks the space before a word, as Llama's, with a start token and unknown ones."""
    tokenizer = Tokenizer(models.BPE(unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    trainer = trainers.BpeTrainer(
        vocab_size=1200, special_tokens=[UNKNOWN, "<s>"], initial_alphabet=list("0123456789")
    )
    tokenizer.train_from_iterator(texts(), trainer)
    return _fast(tokenizer, unk_token=UNKNOWN, bos_token="<s>")


def whole_words(known: int = 5000) -> PreTrainedTokenizerFast:
    """A tokenizer of whole words and marks, which knows so many of the most frequent ones."""
    tokenizer = Tokenizer(models.WordLevel(unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"\w+|[^\w\s]"), "removed", invert=True)
    trainer = trainers.WordLevelTrainer(vocab_size=known, special_tokens=[UNKNOWN])
    tokenizer.train_from_iterator(texts(), trainer)
    return _fast(tokenizer, unk_token=UNKNOWN)


TOKENIZERS: dict[str, Callable[[], PreTrainedTokenizerFast]] = {
    "byte-level, single digits": byte_level,
    "byte-level, pairs of digits": lambda: byte_level(2),
    "metaspace": metaspace,
    "whole words": whole_words,
    "few words": lambda: whole_words(600),
}
"""name -> makes a tokenizer"""

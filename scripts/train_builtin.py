"""Train the small model that ships as `builtin:tiny`, from scratch and deterministically.

    python scripts/train_builtin.py --out src/chg/builtin/tiny

1. A word-level tokenizer is made from the built-in vocabulary (whitespace splits, nothing else).
2. A GPT-2 of 4 layers x 8 heads first learns what takes attention over two steps: to copy, and to
   tell ABA from ABB. That comes only from long rows with many scored tokens.
3. Then all built-in datasets are mixed; the loss is on targets and on the answers of examples.
4. At last whatever a head writes has a price. A behaviour can then not be smeared over all heads:
   each is left to a few that do little else, and the other heads fall silent.
5. Accuracy per task is measured on validation prompts, and model and tokenizer are saved.
"""

from __future__ import annotations

import argparse
import math
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence
from tqdm import tqdm
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from chg.builtin.tasks import (
    BUILTIN_DATASETS,
    EXAMPLES,
    RULES,
    builtin_configs,
    builtin_rows,
    draw_row,
    is_validation,
    vocabulary,
)
from chg.builtin.words import RANDOM_TOKENS
from chg.models.architectures import find_head_sites

SEED = 0
LAYERS, HEADS, D_MODEL, POSITIONS = 4, 8, 128, 64
INIT_STD = 0.08
PEAK_LR, WARMUP, WEIGHT_DECAY = 2e-3, 50, 0.1
MIX_FROM, PRICE_FROM, PRICE_FULL, DECAY_FROM, STEPS = 1200, 1900, 2200, 2400, 2900
"""steps: words join, the price begins and is full, the learning rate begins to fall, all ends"""
PRICE = 0.005
"""nats per token and unit of length of what a head adds to the residual stream"""
LONGEST = 47
"""words of a long row; with `<bos>` 48 tokens"""

TrainingRow = list[tuple[str, bool]]
"""words, and whether each is scored"""


def build_tokenizer() -> PreTrainedTokenizerFast:
    """One token per word, after a `<bos>` that makes position 0 the same in every text."""
    special = ["<pad>", "<unk>", "<bos>"]
    words = {word: index for index, word in enumerate(special + vocabulary())}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", pair="<bos> $A $B", special_tokens=[("<bos>", words["<bos>"])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        unk_token="<unk>",
        bos_token="<bos>",
        model_max_length=POSITIONS,
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,
    )


def build_model(tokenizer: PreTrainedTokenizerFast) -> GPT2LMHeadModel:
    """A GPT-2 without dropout; its embedding is also its output layer."""
    config = GPT2Config(
        vocab_size=len(tokenizer),
        n_positions=POSITIONS,
        n_embd=D_MODEL,
        n_layer=LAYERS,
        n_head=HEADS,
        initializer_range=INIT_STD,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=None,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = GPT2LMHeadModel(config)
    # Positions start as waves, as in the first transformer: "the token before" is then the same
    # turn of the waves everywhere, and copying, which needs it, is learned early.
    rates = torch.exp(torch.arange(0, D_MODEL, 2) * (-math.log(1000.0) / D_MODEL))
    angles = torch.arange(POSITIONS)[:, None] * rates
    waves = torch.cat([angles.sin(), angles.cos()], dim=1)
    with torch.no_grad():
        model.transformer.wpe.weight.copy_(waves * INIT_STD * math.sqrt(2))
    return model


def word_row(dataset: str, rng: random.Random) -> TrainingRow:
    """A training row of a built-in dataset; the answers of its examples are scored too."""
    row = draw_row(dataset, None, "train", rng)
    words = row["prompt"].split()
    is_answer = [before == ":" for before in ["", *words]]
    return [*zip(words, is_answer, strict=False), *((word, True) for word in row["target"].split())]


def icl_row(rng: random.Random) -> TrainingRow:
    """Examples of a word task, and a question."""
    return word_row("icl", rng)


def instruction_row(rng: random.Random) -> TrainingRow:
    """An instruction that names a word task, and a question."""
    return word_row("instruction", rng)


def copy_row(rng: random.Random) -> TrainingRow:
    """A sequence repeated to the end; its length varies, or looking back that far would do."""
    while True:
        sequence = rng.sample(RANDOM_TOKENS, rng.randint(5, LONGEST // 2))
        if not is_validation(" ".join([*sequence, sequence[0]])):
            return [(sequence[i % len(sequence)], i > len(sequence)) for i in range(LONGEST)]


def triples(rule: str, count: int, rng: random.Random) -> list[list[str]]:
    """That many triples that follow a rule, all of different tokens."""
    tokens = rng.sample(RANDOM_TOKENS, 2 * count)
    third = RULES.index(rule)
    return [[*pair, pair[third]] for pair in zip(tokens[::2], tokens[1::2], strict=True)]


def rule_row(rng: random.Random) -> TrainingRow:
    """Many triples of one rule; the third token is scored once an example has shown the rule."""
    while True:
        shown = triples(rng.choice(RULES), LONGEST // 4, rng)
        prompt = " ; ".join(" ".join(triple) for triple in shown[: EXAMPLES + 1])
        if not is_validation(prompt.rsplit(" ", 1)[0]):
            words = [word for triple in shown for word in [*triple, ";"]]
            return [(word, i % 4 == 2 and i > 4) for i, word in enumerate(words)]


def named_rule_row(rng: random.Random) -> TrainingRow:
    """Triples beside the name of their rule: one must follow from the other, either way round.

    Applying and recognising a rule are learned apart here, and together make up `rule_row`, which
    alone stays at chance.
    """
    row: TrainingRow = []
    for _ in range(LONGEST // 5):
        rule = rng.choice(RULES)
        [[first, second, third]] = triples(rule, 1, rng)
        plain = [(first, False), (second, False)]
        if rng.random() < 0.5:
            row += [(rule, False), *plain, (third, True), (";", False)]
        else:
            row += [*plain, (third, False), (rule, True), (";", False)]
    return row


Mix = dict[Callable[[random.Random], TrainingRow], int]
FIRST_MIX: Mix = {rule_row: 16, named_rule_row: 8, copy_row: 8}
FULL_MIX: Mix = {
    icl_row: 26,
    instruction_row: 14,
    rule_row: 4,
    named_rule_row: 1,
    copy_row: 3,
}
"""kind of row -> how many of it are in a batch"""


def encode(tokenizer: PreTrainedTokenizerFast, rows: list[TrainingRow]) -> tuple[Tensor, Tensor]:
    """Token ids `[row, position]`, padded right, and labels that are -100 where not scored."""
    vocab, bos = tokenizer.get_vocab(), tokenizer.bos_token_id
    ids = [torch.tensor([bos, *(vocab[word] for word, _ in row)]) for row in rows]
    scored = [torch.tensor([False, *(flag for _, flag in row)]) for row in rows]
    batch = pad_sequence(ids, batch_first=True, padding_value=tokenizer.pad_token_id)
    return batch, batch.masked_fill(~pad_sequence(scored, batch_first=True), -100)


def learning_rate(step: int) -> float:
    """Linear warm-up, constant, then a cosine down to nothing; as a share of the peak."""
    if step < DECAY_FROM:
        return min(1.0, (step + 1) / WARMUP)
    return 0.5 * (1 + math.cos(math.pi * (step - DECAY_FROM) / (STEPS - DECAY_FROM)))


def price(step: int) -> float:
    """The price of what heads write: none until all is learned, then rising to the full one."""
    return PRICE * min(1.0, max(0.0, (step - PRICE_FROM) / (PRICE_FULL - PRICE_FROM)))


@contextmanager
def head_writes(model: GPT2LMHeadModel) -> Iterator[list[Tensor]]:
    """Collect, layer by layer, about how long a vector each head adds: `[row, position, head]`."""
    writes: list[Tensor] = []

    def collect(projection: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        outputs = inputs[0].unflatten(-1, (HEADS, -1)).norm(dim=-1)
        weights = cast(Tensor, projection.weight).unflatten(0, (HEADS, -1)).flatten(1).norm(dim=-1)
        writes.append(outputs * weights / math.sqrt(D_MODEL // HEADS))

    sites = find_head_sites(model)
    handles = [site.projection.register_forward_pre_hook(collect) for site in sites]
    try:
        yield writes
    finally:
        for handle in handles:
            handle.remove()


def train(model: GPT2LMHeadModel, tokenizer: PreTrainedTokenizerFast) -> None:
    """Minimise the loss on the scored tokens of fresh rows, and later what heads write."""
    rng = random.Random(SEED)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=PEAK_LR, betas=(0.9, 0.98), weight_decay=WEIGHT_DECAY
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, learning_rate)
    progress = tqdm(range(STEPS), desc="training", disable=None)
    model.train()
    with head_writes(model) as writes:
        for step in progress:
            mix = FIRST_MIX if step < MIX_FROM else FULL_MIX
            rows = [make(rng) for make, count in mix.items() for _ in range(count)]
            ids, labels = encode(tokenizer, rows)
            is_word = ids.ne(tokenizer.pad_token_id)
            writes.clear()
            logits = model(ids, attention_mask=is_word).logits
            nll = cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
            written = torch.stack(writes).sum(dim=(0, -1))[is_word].mean()
            loss = nll + price(step) * written
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            if step % 50 == 0:
                progress.set_postfix(nll=f"{nll.item():.3f}", written=f"{written.item():.1f}")
    model.eval()


@torch.no_grad()
def accuracy(
    model: GPT2LMHeadModel, tokenizer: PreTrainedTokenizerFast, dataset: str, task: str
) -> float:
    """The share of validation rows whose target tokens are all the most likely ones."""
    rows = builtin_rows(dataset, task, "validation")
    words = [(row["prompt"].split(), row["target"].split()) for row in rows]
    ids, labels = encode(
        tokenizer,
        [[*((w, False) for w in prompt), *((w, True) for w in target)] for prompt, target in words],
    )
    logits = model(ids, attention_mask=ids.ne(tokenizer.pad_token_id)).logits
    best = logits[:, :-1].argmax(dim=-1)
    right = ((best == labels[:, 1:]) | (labels[:, 1:] == -100)).all(dim=1)
    return float(right.float().mean())


def main() -> None:
    """Train, measure, save."""
    parser = argparse.ArgumentParser(description="Train the model that ships as builtin:tiny.")
    parser.add_argument("--out", type=Path, required=True, help="folder for model and tokenizer")
    out: Path = parser.parse_args().out
    torch.manual_seed(SEED)
    torch.set_num_threads(2)
    torch.use_deterministic_algorithms(True)
    tokenizer = build_tokenizer()
    model = build_model(tokenizer)
    started = time.perf_counter()
    train(model, tokenizer)
    print(f"trained in {(time.perf_counter() - started) / 60:.1f} minutes")
    print(f"{'dataset':<12} {'task':<16} accuracy on validation rows")
    for dataset in BUILTIN_DATASETS:
        for task in builtin_configs(dataset):
            print(f"{dataset:<12} {task:<16} {accuracy(model, tokenizer, dataset, task):.1%}")
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    # transformers 5 writes a class name that 4.x does not know; both know this one.
    config = out / "tokenizer_config.json"
    config.write_text(config.read_text().replace("TokenizersBackend", "PreTrainedTokenizerFast"))


if __name__ == "__main__":
    main()

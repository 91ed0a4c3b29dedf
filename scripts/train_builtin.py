"""Train the small model that ships as `builtin:tiny`, from scratch and deterministically.

    python scripts/train_builtin.py --out src/chg/builtin/tiny

1. A word-level tokenizer is made from the built-in vocabulary (whitespace splits, nothing else).
2. A GPT-2 of 4 layers x 8 heads learns all built-in datasets at once, from training prompts only,
   with the loss on the target tokens.
3. In every row each head is dropped with probability `HEAD_DROP`, by gates of 0: a behaviour can
   then not be smeared over all heads, and the circuits come out sparse enough to be worth a look.
4. Accuracy per task is measured on validation prompts, and model and tokenizer are saved.
"""

from __future__ import annotations

import argparse
import math
import random
import time
from collections import defaultdict
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor
from torch.nn.functional import cross_entropy
from tqdm import tqdm
from transformers import (
    BatchEncoding,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedTokenizerFast,
)

import chg.gate_wrapper as gate_wrapper
from chg.builtin.tasks import (
    BUILTIN_DATASETS,
    Row,
    builtin_configs,
    builtin_rows,
    draw_row,
    is_validation,
    vocabulary,
)
from chg.builtin.words import RANDOM_TOKENS

SEED = 0
LAYERS, HEADS, D_MODEL, POSITIONS = 4, 8, 128, 64
STEPS, BATCH, PEAK_LR, WARMUP, WEIGHT_DECAY = 1300, 48, 2e-3, 60, 0.1
INIT_STD = 0.08
HEAD_DROP, DROP_FROM, DROP_FULL = 0.3, 600, 900
"""the rate, and the steps between which it rises from nothing to that"""
MIX = {"icl": 3, "instruction": 2, "aba": 4, "copy": 3}
"""dataset -> its share of the rows"""
COPY_FIRST, LONGEST_COPY = 200, 20
"""steps of copying and rules alone, and how long copies get: short rows teach too little"""


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


def encode(
    tokenizer: PreTrainedTokenizerFast, rows: list[Row], examples_too: bool = False
) -> tuple[BatchEncoding, Tensor]:
    """Token ids, and labels that are -100 wherever nothing is to be predicted.

    The targets are to be predicted, and with `examples_too` the answers of a prompt's examples.
    """
    texts = [f"{row['prompt']} {row['target']}" for row in rows]
    batch = tokenizer(texts, padding=True, return_tensors="pt")
    ends = batch["attention_mask"].sum(dim=1, keepdim=True)
    lengths = torch.tensor([[len(row["target"].split())] for row in rows])
    positions = torch.arange(batch["input_ids"].shape[1])
    scored = (positions >= ends - lengths) & (positions < ends)
    if examples_too:
        follows = batch["input_ids"].roll(-1, dims=1)
        scored |= follows == tokenizer.convert_tokens_to_ids(";")
    return batch, batch["input_ids"].masked_fill(~scored, -100)


def learning_rate(step: int) -> float:
    """Linear warm-up, then a cosine down to nothing; as a share of the peak."""
    if step < WARMUP:
        return (step + 1) / WARMUP
    return 0.5 * (1 + math.cos(math.pi * (step - WARMUP) / (STEPS - WARMUP)))


def head_drop(step: int) -> float:
    """The share of heads to drop: none until something is learned, then more and more."""
    return HEAD_DROP * min(1.0, max(0.0, (step - DROP_FROM) / (DROP_FULL - DROP_FROM)))


def draw_copy(rng: random.Random) -> Row:
    """A training row of copying, up to twice as long as the rows of the dataset."""
    while True:
        first, *rest = rng.sample(RANDOM_TOKENS, rng.randint(5, LONGEST_COPY))
        prompt = " ".join([first, *rest, first])
        if not is_validation(prompt):
            return {"prompt": prompt, "target": " ".join(rest), "task": "copy"}


def draw_batch(step: int, rng: random.Random) -> list[Row]:
    """Training rows of all datasets, or of the two without words while the first steps last."""
    mix = {"aba": 1, "copy": 3} if step < COPY_FIRST else MIX
    names = rng.choices(list(mix), list(mix.values()), k=BATCH)
    return [
        draw_copy(rng) if name == "copy" else draw_row(name, None, "train", rng) for name in names
    ]


def train(model: GPT2LMHeadModel, tokenizer: PreTrainedTokenizerFast) -> None:
    """Minimise the loss on the targets of fresh training rows, with heads dropped at random."""
    rng = random.Random(SEED)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=PEAK_LR, betas=(0.9, 0.98), weight_decay=WEIGHT_DECAY
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, learning_rate)
    progress = tqdm(range(STEPS), desc="training", disable=None)
    model.train()
    with gate_wrapper.gated(model, torch.ones(LAYERS, HEADS)) as handle:
        for step in progress:
            rows = draw_batch(step, rng)
            batch, labels = encode(tokenizer, rows, examples_too=True)
            handle.gates = (torch.rand(BATCH, LAYERS, HEADS) >= head_drop(step)).float()
            logits = model(**batch).logits
            loss = cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            if step % 50 == 0:
                progress.set_postfix(loss=f"{loss.item():.3f}")
    model.eval()


@torch.no_grad()
def accuracy(
    model: GPT2LMHeadModel, tokenizer: PreTrainedTokenizerFast, rows: list[Row]
) -> dict[str, float]:
    """Per task, the share of rows whose target tokens are all the most likely ones."""
    batch, labels = encode(tokenizer, rows)
    best = model(**batch).logits[:, :-1].argmax(dim=-1)
    right = ((best == labels[:, 1:]) | (labels[:, 1:] == -100)).all(dim=1)
    outcomes: dict[str, list[bool]] = defaultdict(list)
    for row, is_right in zip(rows, right.tolist(), strict=True):
        outcomes[row["task"]].append(is_right)
    return {task: sum(hits) / len(hits) for task, hits in outcomes.items()}


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
            rows = builtin_rows(dataset, task, "validation")
            print(f"{dataset:<12} {task:<16} {accuracy(model, tokenizer, rows)[task]:.1%}")
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    # transformers 5 writes a class name that 4.x does not know; both know this one.
    config = out / "tokenizer_config.json"
    config.write_text(config.read_text().replace("TokenizersBackend", "PreTrainedTokenizerFast"))


if __name__ == "__main__":
    main()

"""The built-in words, tasks and model: facts, held-out rows, and what the model can do."""

from __future__ import annotations

import random
import runpy
import subprocess
import sys
from collections import Counter
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from chg.builtin.tasks import (
    BUILTIN_DATASETS,
    EXAMPLES,
    SPLITS,
    builtin_configs,
    builtin_rows,
    is_validation,
    prompts_of,
    vocabulary,
)
from chg.builtin.words import RANDOM_TOKENS, WORD_PAIRS
from chg.errors import DataError
from support.repository import ROOT

FOLDER = Path(str(files("chg.builtin"))) / "tiny"


EVERY_TASK = [(name, config) for name in BUILTIN_DATASETS for config in builtin_configs(name)]


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(FOLDER)


@pytest.fixture(scope="module")
def model() -> PreTrainedModel:
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(FOLDER)
    model.eval()
    return model


def test_words_have_one_answer_per_task_and_several_tasks_each() -> None:
    assert set(WORD_PAIRS) == {
        "antonym",
        "capitalize",
        "country-capital",
        "english-french",
        "present-past",
        "singular-plural",
    }
    answers: dict[str, list[str]] = {}
    for pairs in WORD_PAIRS.values():
        inputs = [word for word, _ in pairs]
        assert len(pairs) >= 40
        assert len(set(inputs)) == len(inputs)
        for word, answer in pairs:
            assert word == word.lower()
            answers.setdefault(word, [word]).append(answer)
    for word, different in answers.items():
        assert len(set(different)) == len(different) >= 3, (word, different)
    shared = [word for word, different in answers.items() if len(different) >= 4]
    assert len(shared) / len(answers) > 0.95


def test_random_tokens_mean_nothing() -> None:
    words = {word for pairs in WORD_PAIRS.values() for pair in pairs for word in pair}
    assert len(set(RANDOM_TOKENS)) == len(RANDOM_TOKENS) == 32
    assert not words & set(RANDOM_TOKENS)


@pytest.mark.parametrize(
    ("task", "word", "answer"),
    [
        ("singular-plural", "dog", "dogs"),
        ("english-french", "germany", "allemagne"),
        ("country-capital", "france", "paris"),
        ("capitalize", "hot", "Hot"),
        ("antonym", "left", "right"),
        ("present-past", "buy", "bought"),
    ],
)
def test_words_are_as_everyone_knows_them(task: str, word: str, answer: str) -> None:
    assert dict(WORD_PAIRS[task])[word] == answer


@pytest.mark.parametrize(("dataset", "config"), EVERY_TASK)
def test_splits_are_reproducible_and_apart(dataset: str, config: str) -> None:
    drawn = {split: builtin_rows(dataset, config, split) for split in SPLITS}
    prompts = {split: {row["prompt"] for row in rows} for split, rows in drawn.items()}
    assert {split: len(found) for split, found in prompts.items()} == SPLITS
    assert not prompts["train"] & prompts["validation"]
    assert all(map(is_validation, prompts["validation"]))
    assert builtin_rows(dataset, config, "validation") == drawn["validation"]
    assert builtin_rows(dataset, config, "validation", 8) == drawn["validation"][:8]
    assert builtin_rows(dataset, config, "validation", 8, seed=1) != drawn["validation"][:8]
    assert {row["task"] for row in drawn["train"]} == {config}


def test_without_a_config_all_tasks_are_mixed() -> None:
    for dataset in BUILTIN_DATASETS:
        counts = Counter(row["task"] for row in builtin_rows(dataset, None, "validation"))
        assert set(counts) == set(builtin_configs(dataset))
        assert min(counts.values()) > 512 / len(counts) / 2


@pytest.mark.parametrize("split", SPLITS)
def test_tuples_ask_for_the_same_word_twice(split: str) -> None:
    rows = builtin_rows("format", None, split)
    assert len({prompts_of(row) for row in rows}) == SPLITS[split]
    assert {row["task"] for row in rows} == set(WORD_PAIRS)
    for row in rows:
        shown, named = row["retain_prompt"].split(), row["forget_prompt"].split()
        assert shown[-2:] == named[-2:]
        assert row["retain_target"] == row["forget_target"]
        assert dict(WORD_PAIRS[row["task"]])[shown[-2]] == row["retain_target"]
        assert {is_validation(prompt) for prompt in prompts_of(row)} == {split == "validation"}


@pytest.fixture(scope="module")
def training() -> Any:
    path = ROOT / "scripts" / "train_builtin.py"
    return SimpleNamespace(**runpy.run_path(str(path)))


@pytest.mark.parametrize("kind", ["icl_row", "instruction_row", "rule_row", "copy_row"])
def test_the_training_script_draws_no_validation_prompt(training: Any, kind: str) -> None:
    rng = random.Random(0)
    for _ in range(500):
        row = getattr(training, kind)(rng)
        words = [word for word, _ in row]
        end = {"rule_row": 4 * EXAMPLES + 2, "copy_row": [scored for _, scored in row].index(True)}
        stop = end.get(kind, len(words) - 1)
        assert not is_validation(" ".join(words[:stop]))
        assert row[stop][1], "what follows the prompt is scored"


def test_every_training_row_is_known_to_the_tokenizer_and_fits(training: Any) -> None:
    rng = random.Random(0)
    known = set(vocabulary())
    for make in training.FULL_MIX:
        rows = [make(rng) for _ in range(100)]
        assert {word for row in rows for word, _ in row} <= known
        assert all(any(scored for _, scored in row) for row in rows)
        assert max(map(len, rows)) < training.POSITIONS


@pytest.mark.parametrize(
    ("arguments", "valid"),
    [
        (("icll", None, "train"), "icl, instruction, aba, copy"),
        (("icl", "aba", "train"), "antonym, capitalize"),
        (("aba", "abc", "train"), "aba, abb"),
        (("copy", None, "test"), "train, validation"),
        (("instruction", "antonym", "validation", 100_000), "at most"),
    ],
)
def test_what_does_not_exist_is_refused_with_what_does(
    arguments: tuple[str, str | None, str], valid: str
) -> None:
    with pytest.raises(DataError, match=valid):
        builtin_rows(*arguments)


def test_rows_need_no_torch() -> None:
    code = "import sys, chg.builtin.tasks; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_tokenizer_has_a_token_per_word_after_bos(tokenizer: PreTrainedTokenizerBase) -> None:
    assert set(tokenizer.get_vocab()) == {"<pad>", "<unk>", "<bos>", *vocabulary()}
    for dataset in BUILTIN_DATASETS:
        for row in builtin_rows(dataset, None, "validation", 64):
            text = f"{row['prompt']} {row['target']}"
            ids = tokenizer(text)["input_ids"]
            assert ids[0] == tokenizer.bos_token_id
            assert tokenizer.unk_token_id not in ids
            assert len(ids) == len(text.split()) + 1 <= tokenizer.model_max_length
            assert tokenizer.decode(ids, skip_special_tokens=True) == text
    assert len(tokenizer("pays-bas œuf zebra", add_special_tokens=False)["input_ids"]) == 3


def test_the_model_is_small_and_has_heads_enough(model: PreTrainedModel) -> None:
    assert model.config.n_layer >= 4
    assert model.config.n_head >= 8
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 8_000_000


@pytest.mark.parametrize(("dataset", "config"), EVERY_TASK)
def test_the_model_answers_held_out_prompts(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, dataset: str, config: str
) -> None:
    rows = builtin_rows(dataset, config, "validation")
    batch = tokenizer(
        [f"{row['prompt']} {row['target']}" for row in rows], padding=True, return_tensors="pt"
    )
    with torch.no_grad():
        best = model(**batch).logits.argmax(dim=-1)
    right = 0
    for row, guesses, mask in zip(rows, best, batch["attention_mask"], strict=True):
        target = row["target"].split()
        end = int(mask.sum()) - 1
        right += tokenizer.convert_ids_to_tokens(guesses[end - len(target) : end]) == target
    assert right / len(rows) >= 0.98

"""Rows of the built-in datasets: a prompt, its target, and the task it belongs to.

Rows are drawn from a seed, so a split is the same everywhere. Being a validation prompt is a
property of the prompt's text alone (`is_validation`): a draw of training rows, that of the model's
training script included, never meets one. Nothing here needs torch.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from zlib import crc32

from chg.builtin.words import RANDOM_TOKENS, WORD_PAIRS
from chg.errors import DataError

Row = dict[str, str]
"""`prompt`, `target` (joined by one space they are the text) and `task`; a matched tuple has a
`retain_` and a `forget_` prompt and target."""

BUILTIN_DATASETS: dict[str, str] = {
    "icl": "Six word tasks, to be inferred from three examples in the prompt.",
    "instruction": "The same six word tasks, named by an instruction.",
    "aba": "The identity rules ABA and ABB over random tokens, inferred from three examples.",
    "copy": "A random sequence that is repeated from its first token on (induction).",
}
"""name -> what it asks of a model, in a sentence"""

BUILTIN_TUPLES: dict[str, str] = {
    "format": "The same word of the same task, asked as icl (retain) and instruction (forget).",
}
"""name -> what its matched tuples are, in a sentence"""

SPLITS: dict[str, int] = {"train": 2048, "validation": 512}
"""split -> its rows, unless another number is asked for"""

MOST_MISSES = 1000
"""Draws in a row that give a prompt already drawn, before a split counts as exhausted."""

EXAMPLES = 3
RULES = ("aba", "abb")
"""A triple of tokens ends with its first, or with its second."""
COPY_LENGTHS = (5, 9)
"""Shortest and longest sequence: were there a single length, looking back that far would do."""

_OPENINGS = ("", "please", "now", "next", "kindly", "then")
_VERBS = ("give", "write", "name", "print", "state", "show", "spell", "type")
_WORDINGS: dict[str, tuple[str, str]] = {
    "antonym": ("the antonym of", "the opposite of"),
    "capitalize": ("the capitalized form of", "the uppercase form of"),
    "country-capital": ("the capital of", "the capital city of"),
    "english-french": ("the french word for", "the french translation of"),
    "present-past": ("the past of", "the past tense of"),
    "singular-plural": ("the plural of", "the plural form of"),
}


def _icl_row(task: str, rng: random.Random) -> Row:
    *shown, (asked, answer) = rng.sample(WORD_PAIRS[task], EXAMPLES + 1)
    return {"prompt": _showing(shown, asked), "target": answer, "task": task}


def _instruction_row(task: str, rng: random.Random) -> Row:
    asked, answer = rng.choice(WORD_PAIRS[task])
    return {"prompt": _naming(task, asked, rng), "target": answer, "task": task}


def _format_row(task: str, rng: random.Random) -> Row:
    *shown, (asked, answer) = rng.sample(WORD_PAIRS[task], EXAMPLES + 1)
    return {
        "retain_prompt": _showing(shown, asked),
        "retain_target": answer,
        "forget_prompt": _naming(task, asked, rng),
        "forget_target": answer,
        "task": task,
    }


def _showing(shown: list[tuple[str, str]], asked: str) -> str:
    """A prompt that shows a task by examples."""
    examples = "".join(f"{word} : {its_answer} ; " for word, its_answer in shown)
    return f"{examples}{asked} :"


def _naming(task: str, asked: str, rng: random.Random) -> str:
    """A prompt that names a task."""
    wording = f"{rng.choice(_OPENINGS)} {rng.choice(_VERBS)} {rng.choice(_WORDINGS[task])}"
    return f"{wording} {asked} :".lstrip()


def _rule_row(rule: str, rng: random.Random) -> Row:
    tokens = rng.sample(RANDOM_TOKENS, 2 * EXAMPLES + 2)
    third = RULES.index(rule)
    pairs = [tokens[i : i + 2] for i in range(0, len(tokens), 2)]
    prompt, target = " ; ".join(" ".join([*pair, pair[third]]) for pair in pairs).rsplit(" ", 1)
    return {"prompt": prompt, "target": target, "task": rule}


def _copy_row(task: str, rng: random.Random) -> Row:
    sequence = rng.sample(RANDOM_TOKENS, rng.randint(*COPY_LENGTHS))
    return {
        "prompt": " ".join([*sequence, sequence[0]]),
        "target": " ".join(sequence[1:]),
        "task": task,
    }


_MAKERS: dict[str, tuple[Callable[[str, random.Random], Row], tuple[str, ...]]] = {
    "icl": (_icl_row, tuple(WORD_PAIRS)),
    "instruction": (_instruction_row, tuple(WORD_PAIRS)),
    "aba": (_rule_row, RULES),
    "copy": (_copy_row, ("copy",)),
    "format": (_format_row, tuple(WORD_PAIRS)),
}
"""dataset -> how its rows are made, and its configs"""


def is_validation(prompt: str) -> bool:
    """True for a held-out prompt: about one in five, by a checksum of its text."""
    return crc32(prompt.encode()) % 5 == 0


def prompts_of(row: Row) -> tuple[str, ...]:
    """Prompt of a row, or both prompts of a matched tuple."""
    return tuple(text for name, text in row.items() if name.endswith("prompt"))


def builtin_configs(dataset: str) -> tuple[str, ...]:
    """Configs of a dataset: its tasks or rules.

    Raises:
        DataError: there is no such dataset.
    """
    if dataset not in _MAKERS:
        raise DataError(
            f"there is no built-in dataset {dataset!r}; choose one of "
            f"{', '.join([*BUILTIN_DATASETS, *BUILTIN_TUPLES])}"
        )
    return _MAKERS[dataset][1]


def draw_row(dataset: str, config: str | None, split: str, rng: random.Random) -> Row:
    """Draw one row of a split; without a config, of any of the dataset's tasks.

    Raises:
        DataError: the dataset, the config or the split does not exist.
    """
    configs = builtin_configs(dataset)
    if config is not None and config not in configs:
        raise DataError(
            f"builtin:{dataset} has no config {config!r}; choose one of {', '.join(configs)}, "
            "or none for all mixed"
        )
    if split not in SPLITS:
        raise DataError(
            f"builtin:{dataset} has no split {split!r}; choose one of {', '.join(SPLITS)}"
        )
    task = config or rng.choice(configs)
    while True:
        row = _MAKERS[dataset][0](task, rng)
        # Both prompts of a tuple, so that no metric is of a training prompt on either side.
        if all(is_validation(prompt) == (split == "validation") for prompt in prompts_of(row)):
            return row


def builtin_rows(
    dataset: str, config: str | None, split: str, rows: int | None = None, seed: int = 0
) -> list[Row]:
    """Draw the rows of a split, all with different prompts, the same for the same arguments.

    Args:
        dataset: a name in `BUILTIN_DATASETS` or `BUILTIN_TUPLES`.
        config: one task or rule of it; None mixes all.
        split: `train` or `validation`.
        rows: how many; None for the split's own number.
        seed: another seed draws another sample of the same split.

    Raises:
        DataError: the dataset, the config or the split does not exist, or has fewer prompts.
    """
    draw_row(dataset, config, split, random.Random(0))  # also when no rows are asked for
    wanted = SPLITS[split] if rows is None else rows
    rng = random.Random(f"{dataset} {config} {split} {seed}")
    drawn: dict[tuple[str, ...], Row] = {}
    misses = 0
    while len(drawn) < wanted:
        row = draw_row(dataset, config, split, rng)
        misses = misses + 1 if prompts_of(row) in drawn else 0
        drawn.setdefault(prompts_of(row), row)
        if misses > MOST_MISSES:
            raise DataError(
                f"builtin:{dataset} (config {config or 'all'}) has fewer than {wanted} different "
                f"prompts in {split!r}; ask for at most {len(drawn)} rows"
            )
    return list(drawn.values())


def vocabulary() -> list[str]:
    """Vocabulary of the tokenizer: every word of any row, and the rules' names, sorted."""
    words = {":", ";", *RANDOM_TOKENS, *RULES, *_OPENINGS, *_VERBS} - {""}
    for wordings in _WORDINGS.values():
        words.update(" ".join(wordings).split())
    for pairs in WORD_PAIRS.values():
        words.update(word for pair in pairs for word in pair)
    return sorted(words)

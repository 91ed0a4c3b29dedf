"""Rows of tasks: known answers, the same for the same seed, and no item in both splits."""

from __future__ import annotations

import re
from collections import Counter
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import chg
from chg.errors import DataError
from chg.task_rows import SPLITS, TaskRow, find_task, tasks
from chg.task_rows.task import _WholeWords
from chg.task_rows.words import ANTONYMS, CAPITALS, FRENCH, NAMES, PAST, PLURALS

PAIRS = {
    "antonym": ANTONYMS,
    "country-capital": CAPITALS,
    "english-french": FRENCH,
    "present-past": PAST,
    "singular-plural": PLURALS,
}
NAMES_OF_TASKS = ["ioi", *PAIRS, "induction", "greater-than", "subject-verb"]
words = _WholeWords()
each_task = pytest.mark.parametrize("name", NAMES_OF_TASKS)
seeds = st.integers(0, 2**40)
few = settings(max_examples=8, deadline=None)


def made(
    name: str, split: str = "train", seed: int = 0, config: str | None = None
) -> list[TaskRow]:
    """The first rows of a split."""
    drawn = islice(tasks()[name]._draw(config, split, words, seed), 40)
    return [row for _, row in drawn if row is not None]


def items(name: str, row: TaskRow) -> set[str]:
    """All that the right answer of a row, or that of its corrupted prompt, depends on."""
    text = f"{row.prompt} {row.target} {row.foil} {row.corrupted}"
    known = {
        "ioi": set(NAMES),
        "induction": set(words.words()),
        "subject-verb": {word for pair in PLURALS for word in pair},
    }
    if name in PAIRS:
        tokens = re.split(r"\nA: ?|\n*Q: |\n+", f"{row.prompt} {row.target}\n{row.corrupted}")
        return {word.rstrip(":").strip() for word in [*tokens, row.target, row.foil]} - {""}
    if name == "greater-than":
        begun = re.search(r"from the year \d\d(\d\d)", row.prompt)
        assert begun is not None
        return {begun[1]}
    return set(re.findall(r"\w+", text)) & known[name]


def test_the_tasks_are_those_that_were_promised() -> None:
    assert list(chg.tasks()) == NAMES_OF_TASKS
    for name, task in chg.tasks().items():
        assert task.name == name
        assert task.description.endswith(".")
        assert task.example == made(name)[0]


@pytest.mark.parametrize("pairs", PAIRS.values(), ids=PAIRS)
def test_a_word_stands_in_one_pair(pairs: tuple[tuple[str, str], ...]) -> None:
    counts = Counter(word for pair in pairs for word in pair)
    assert [word for word, count in counts.items() if count > 1] == []
    assert len(pairs) >= 95


@each_task
@few
@given(seed=seeds)
def test_rows_follow_from_the_seed(name: str, seed: int) -> None:
    assert made(name, seed=seed) == made(name, seed=seed)
    assert made(name, seed=seed) != made(name, seed=seed + 1)


@each_task
@few
@given(seed=seeds, other=seeds)
def test_splits_share_no_item_whatever_the_seeds(name: str, seed: int, other: int) -> None:
    train = set().union(*(items(name, row) for row in made(name, "train", seed)))
    validation = set().union(*(items(name, row) for row in made(name, "validation", other)))
    assert train
    assert validation
    assert not train & validation


@each_task
@pytest.mark.parametrize("split", SPLITS)
def test_prompts_differ_and_so_do_answers(name: str, split: str) -> None:
    rows = [row for row in tasks()[name].rows(None, split, words, 3) if row is not None]
    assert 450 <= len(rows) <= SPLITS[split]
    assert len({row.prompt for row in rows}) == len(rows)
    for row in rows:
        assert row.target != row.foil
        assert row.prompt != row.corrupted


def test_the_indirect_object_is_the_name_that_comes_once() -> None:
    orders = Counter()
    for row in made("ioi"):
        first, second, again = (n for n in re.findall(r"\w+", row.prompt) if n in NAMES)
        assert again == row.foil
        assert {first, second} == {row.target, row.foil}
        orders[again == first] += 1
        changed = [
            (one, other)
            for one, other in zip(row.prompt.split(), row.corrupted.split(), strict=True)
            if one != other
        ]
        ((one, other),) = changed
        assert one.startswith(row.foil)
        assert not other.startswith((row.target, row.foil))
    assert min(orders.values()) > 5
    assert len(orders) == 2


@pytest.mark.parametrize(("config", "first_is_foil"), [("abba", False), ("baba", True)])
def test_the_order_of_names_can_be_chosen(config: str, first_is_foil: bool) -> None:
    for row in made("ioi", config=config):
        first = next(n for n in re.findall(r"\w+", row.prompt) if n in NAMES)
        assert (first == row.foil) is first_is_foil


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize(("config", "shots"), [(None, 4), ("1-shot", 1), ("10-shot", 10)])
def test_pairs_are_shown_and_the_foil_is_the_other_answer(
    name: str, config: str | None, shots: int
) -> None:
    answers = dict(PAIRS[name])
    if name == "antonym":
        answers |= {answer: word for word, answer in ANTONYMS}
    for row in made(name, config=config):
        *shown, (asked, none) = re.findall(r"Q: (.*)\nA:(.*)", row.prompt)
        assert len(shown) == shots
        assert all(answers[word] == answer.strip() for word, answer in shown)
        assert none == ""
        assert answers[asked] == row.target
        *same, (other, _) = re.findall(r"Q: (.*)\nA:(.*)", row.corrupted)
        assert same == shown
        assert answers[other] == row.foil


@pytest.mark.parametrize("name", PAIRS)
def test_an_instruction_shows_no_pair(name: str) -> None:
    for row in made(name, config="instruction"):
        assert row.target not in row.prompt.split()
        assert "Q:" not in row.prompt


def test_induction_goes_on_as_the_first_time() -> None:
    for row in made("induction"):
        words_of = row.prompt.split()
        last = words_of[-1]
        assert words_of[words_of.index(last) + 1] == row.target
        corrupted = row.corrupted.split()
        assert corrupted[-1] == last
        assert corrupted[corrupted.index(last) + 1] == row.foil
        assert Counter(corrupted) == Counter(words_of)
        assert Counter(words_of)[row.target] == Counter(words_of)[row.foil] == 1


def test_greater_years_have_a_greater_digit_of_tens() -> None:
    for row in made("greater-than"):
        found = re.search(r"from the year (\d\d)(\d\d) to the year (\d\d)$", row.prompt)
        assert found is not None
        assert found[1] == found[3]
        begun = int(found[2])
        assert int(row.foil) == begun - 1
        assert int(row.target) == begun + 1
        assert int(row.target[0]) > begun // 10 == int(row.foil[0])
        assert row.corrupted == row.prompt.replace(f"{found[1]}{found[2]}", f"{found[1]}01")


def test_the_verb_agrees_with_the_subject_and_not_with_the_noun_before_it() -> None:
    number = {word: place for pair in PLURALS for place, word in enumerate(pair)}
    for row in made("subject-verb"):
        subject, distractor = (word for word in row.prompt.split() if word in number)
        assert number[subject] != number[distractor]
        assert (row.target, row.foil) == (("is", "are"), ("are", "is"))[number[subject]]
        corrupted, same = (word for word in row.corrupted.split() if word in number)
        assert same == distractor
        assert number[corrupted] != number[subject]


@pytest.mark.parametrize(
    ("name", "config", "split", "message"),
    [
        ("antonyms", None, "train", "no task 'antonyms' (perhaps you meant antonym)"),
        ("antonym", "4shot", "train", "(perhaps you meant 4-shot); choose one of 1-shot, 2-shot"),
        ("ioi", "aabb", "train", "choose one of abba, baba"),
        ("induction", "4-shot", "train", "has no configurations; leave out '4-shot'"),
        ("ioi", None, "test", "no split 'test'; choose one of train, validation"),
    ],
)
def test_names_that_are_none_are_answered_by_those_that_are(
    name: str, config: str | None, split: str, message: str
) -> None:
    with pytest.raises(DataError) as error:
        find_task(name, config, split)
    assert message in str(error.value)

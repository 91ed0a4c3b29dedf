"""Contrastive gates: planted paths are told apart, fits side by side, matched tuples, the files."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import chg
from chg import fit_contrastive, fit_matched, load_tuples, split_tuples
from chg.builtin.tasks import builtin_rows
from chg.builtin.words import WORD_PAIRS
from chg.cli.main import main
from chg.config.fitting import ContrastConfig
from chg.data.tokens import TokenData, TokenRow
from chg.data.tuples import MatchedData, MatchedSplit
from chg.errors import ConfigError, DataError, ResultsError
from chg.fitting.updates import MicroBatch
from chg.report.tradeoff import tradeoff
from chg.results.contrast import (
    ContrastFit,
    ContrastResults,
    ContrastRun,
    SideMetrics,
    mean_and_spread,
)
from chg.selftest.planted import SEPARATOR, TOKENS, copy_rows, planted_model

FIRST, SECOND = (0, 0), (1, 2)
"""The head that reads tokens 0 to 7, and the one that reads 8 to 15."""


def separate_model() -> Any:
    return planted_model({FIRST: 1.0, SECOND: 1.0})


def separate_sides() -> tuple[TokenData, TokenData]:
    return copy_rows(128, 0, range(0, 8)), copy_rows(128, 1, range(8, TOKENS))


def token_rows(tokens: Iterable[int]) -> TokenData:
    rows = tuple(TokenRow((t, SEPARATOR, t), (False, False, True)) for t in tokens)
    return TokenData(rows, "planted", 0)


def matched_data(count: int = 16, tasks: Sequence[str] = ()) -> MatchedData:
    """Row `i` retains token `i % 8` and forgets the one that is 8 above it."""
    tokens = [i % 8 for i in range(count)]
    retain, forget = token_rows(tokens), token_rows(t + 8 for t in tokens)
    return MatchedData("planted", retain, forget, tuple(tasks))


def fit_separate(*, model: Any = None, **settings: Any) -> chg.ContrastResult:
    retain, forget = separate_sides()
    return fit_contrastive(
        model or separate_model(),
        retain,
        forget,
        held_out_retain=retain,
        held_out_forget=forget,
        show_progress=False,
        **settings,
    )


def test_one_call_finds_both_directions_in_planted_paths() -> None:
    result = fit_separate(both_directions=True)
    assert result.reversed is not None
    for one, keeps, loses in ((result, FIRST, SECOND), (result.reversed, SECOND, FIRST)):
        assert one.gates.thresholded[keeps] == 1
        assert one.gates.thresholded[loses] == 0
        assert one.retain.accuracy_thresholded == 1
        assert one.forget.nll_thresholded > one.forget.nll_before + 0.5
        assert not one.warnings
        assert one.reversed is None or one is result
    assert result.gates.metadata["dataset"] == result.reversed.gates.metadata["forget_dataset"]
    assert [fit.seed for fit in result.run.fits] == [42, 43, 44, 45]


def test_alpha_weighs_forgetting_against_retaining() -> None:
    """Heads of their own are told apart by any alpha above 0; a head in common goes with alpha."""
    settings: dict[str, Any] = {"alpha": "4,0,0.25", "gate_init": "open", "starts": 1}
    own = fit_separate(**settings, max_steps=100)
    none, little, much = own.run.curve
    assert (none.alpha, little.alpha, much.alpha) == (0, 0.25, 4)
    assert none.forget.kept > 0.95 < none.retain.kept
    for fit in (little, much):
        assert fit.forget.kept < 0.5 < 0.95 < fit.retain.kept
    assert own.best in (little, much)

    shared = fit_separate(model=planted_model({FIRST: 1.0}, reads={}), **settings, max_steps=100)
    none, little, much = shared.run.curve
    assert min(none.retain.kept, little.retain.kept) > 0.95
    assert min(none.forget.kept, little.forget.kept) > 0.95
    assert max(much.retain.kept, much.forget.kept) < 0.5
    assert shared.warnings


def test_it_warns_when_nothing_can_be_forgotten() -> None:
    model, data = planted_model(), copy_rows(32)
    result = fit_contrastive(
        model,
        data,
        data,
        max_steps=10,
        gate_init="open",
        held_out_retain=data,
        held_out_forget=data,
        show_progress=False,
    )
    assert any("nothing was forgotten" in warning for warning in result.warnings)


def test_fits_side_by_side_equal_fits_alone() -> None:
    """Every alpha, direction and start; an update sees all rows, so their order is no matter."""
    model, data = separate_model(), matched_data(8)
    turned = MatchedData("turned", data.forget, data.retain, ())
    settings: dict[str, Any] = {"max_steps": 20, "batch_size": 8, "show_progress": False}
    together = fit_matched(
        model,
        MatchedSplit(data, data),
        alpha="0.5,2",
        both_directions=True,
        starts=2,
        seed=7,
        **settings,
    )
    assert together.reversed is not None
    for side_by_side, rows in ((together, data), (together.reversed, turned)):
        assert len(side_by_side.run.fits) == 4
        for fit, logits in zip(side_by_side.run.fits, side_by_side.logits, strict=True):
            alone = fit_matched(
                model,
                MatchedSplit(rows, rows),
                alpha=fit.alpha,
                starts=1,
                seed=fit.seed,
                **settings,
            )
            assert torch.allclose(alone.logits[0], logits, atol=1e-3), fit
            assert alone.retain.nll_after == pytest.approx(fit.retain.nll_after, abs=1e-3)
            assert alone.forget.nll_after == pytest.approx(fit.forget.nll_after, abs=1e-3)


@pytest.fixture
def fitted_rows(monkeypatch: pytest.MonkeyPatch) -> list[tuple[TokenRow, TokenRow]]:
    """The pairs of rows that fits met, in their order; nothing is optimised."""
    met: list[tuple[TokenRow, TokenRow]] = []

    def collect(
        _model: object, start: Tensor, updates: Iterable[Sequence[MicroBatch]], *_: object
    ) -> Tensor:
        for update in updates:
            for micro_batch in update:
                met.extend(zip(*micro_batch.sides, strict=True))
        return start

    monkeypatch.setattr("chg.fitting.contrastive.optimise_gates", collect)
    return met


def test_matched_rows_stay_matched(fitted_rows: list[tuple[TokenRow, TokenRow]]) -> None:
    data = matched_data()
    settings: dict[str, Any] = {"epochs": 3, "batch_size": 5, "show_progress": False}
    fit_matched(separate_model(), MatchedSplit(data, data), **settings)
    assert len(fitted_rows) >= 3 * len(data)
    assert all(retain.ids[0] + 8 == forget.ids[0] for retain, forget in fitted_rows)
    first_epoch = [retain.ids[0] for retain, _ in fitted_rows[: len(data)]]
    assert sorted(first_epoch) == sorted(row.ids[0] for row in data.retain.rows)
    assert first_epoch != [row.ids[0] for row in data.retain.rows]


def test_a_task_held_out_is_in_no_update(fitted_rows: list[tuple[TokenRow, TokenRow]]) -> None:
    tasks = ["even" if i % 2 == 0 else "odd" for i in range(40)]
    data = matched_data(40, tasks)
    for validation in (None, matched_data(24, tasks[:24])):
        fitted_rows.clear()
        split = split_tuples(data, validation, hold_out="odd")
        result = fit_matched(separate_model(), split, epochs=2, show_progress=False)
        assert {row.ids[0] % 2 for pair in fitted_rows for row in pair} == {0}
        assert split.unseen is not None
        assert {row.ids[0] % 2 for row in split.unseen.retain.rows} == {1}
        assert len(split.unseen) == (20 if validation is None else 12)
        assert {row.ids[0] % 2 for row in split.held_out.forget.rows} == {0}
        assert len(split.fitting) + (validation is None) * len(split.held_out) == 20
        assert result.run.held_out_task == result.gates.metadata["held_out_task"] == "odd"
        assert result.best.unseen_retain is not None


def test_splits_of_tuples_are_apart_and_repeatable() -> None:
    data = replace(matched_data(40), tasks=tuple(f"row {i}" for i in range(40)))
    once, again = (split_tuples(data, None, seed=3) for _ in range(2))
    assert once == again
    assert once.unseen is None
    assert len(once.held_out) == 4
    assert sorted(once.fitting.tasks + once.held_out.tasks) == sorted(data.tasks)
    assert once.held_out.tasks != split_tuples(data, None, seed=4).held_out.tasks


def test_python_refuses_what_does_not_match() -> None:
    sides = separate_sides()
    with pytest.raises(DataError, match="128 rows to retain, 3 to forget"):
        MatchedData("sides", sides[0], sides[1].select(range(3)), ())
    with pytest.raises(DataError, match="at least 2"):
        split_tuples(matched_data(1), None)
    with pytest.raises(DataError, match="nothing is left to fit"):
        split_tuples(matched_data(2, ["a", "a"]), None, hold_out="a")


@pytest.mark.parametrize(
    "alpha", ["", "a", "1,", "1,,2", "1,-2", "nan", "inf", "1,1.0", "-1", -1.0]
)
def test_rubbish_for_alpha_is_refused(alpha: float | str) -> None:
    with pytest.raises(ConfigError, match=r"--alpha must be a number of 0 or more"):
        ContrastConfig(alpha=alpha)


def test_alphas_are_read_in_every_form() -> None:
    for alpha in ("0.5,2,1", "[0.5, 1, 2]", " 1, 0.5,2 "):
        assert ContrastConfig(alpha=alpha).alphas == (0.5, 1.0, 2.0)
    assert ContrastConfig(alpha=0.5).alphas == (0.5,)


def figures(retain_nll: float, forget_nll: float) -> tuple[SideMetrics, SideMetrics]:
    return (
        SideMetrics(0.1, retain_nll, retain_nll, 1.0, 0.5, 0.5),
        SideMetrics(0.1, forget_nll, forget_nll, 1.0, 0.5, 0.5),
    )


def example_run() -> ContrastRun:
    fits = tuple(
        ContrastFit(alpha, start, 42 + start, *figures(0.1 + alpha * start, 1.0 + alpha))
        for alpha in (2.0, 0.5)
        for start in (0, 1)
    )
    return ContrastRun(fits, 0, ("a warning",))


def test_results_come_back_as_they_were(tmp_path: Path) -> None:
    run = example_run()
    unseen = replace(run.fits[0], unseen_retain=figures(1, 2)[0], unseen_forget=figures(1, 2)[1])
    other = replace(run, fits=(unseen,), reversed=True, held_out_task="antonym")
    results = ContrastResults((run, other), {"model": "m"})
    path = results.save(tmp_path / "gates.contrast.json")
    assert ContrastResults.load(path) == results
    assert json.loads(path.read_text())["format_version"] == 1
    for text in ("{", '{"runs": [{}]}', "[]"):
        path.write_text(text)
        with pytest.raises(ResultsError, match="is not a contrastive result"):
            ContrastResults.load(path)
    with pytest.raises(ResultsError, match="does not exist"):
        ContrastResults.load(tmp_path / "none.json")


def test_the_curve_has_the_best_start_of_each_alpha() -> None:
    curve = example_run().curve
    assert [(fit.alpha, fit.start) for fit in curve] == [(0.5, 0), (2.0, 0)]
    assert mean_and_spread([1.0, 3.0]) == (2.0, pytest.approx(2**0.5))
    assert mean_and_spread([1.0]) == (1.0, 0.0)


def test_the_picture_has_a_point_per_fit_and_says_what_it_shows() -> None:
    run = example_run()
    figure = tradeoff([run, replace(run, reversed=True)])
    assert [axes.get_title() for axes in figure.axes] == [
        "as given, held-out rows",
        "reversed, held-out rows",
    ]
    for axes in figure.axes:
        assert len(axes.collections) == len(run.fits) + len(run.curve)
        assert axes.get_xlabel().startswith("forgotten")
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "alpha 0.5",
        "alpha 2",
        "best start of each",
    ]


@pytest.fixture
def tuples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder but for `tuples.jsonl`: matched tuples of two tasks."""
    monkeypatch.chdir(tmp_path)
    rows = [
        row
        for task in ("antonym", "singular-plural")
        for row in builtin_rows("format", task, "train", 12)
    ]
    return write(tmp_path / "tuples.jsonl", rows)


def write(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


QUICK = ["--max_steps", "2", "--starts", "2", "--eval_rows", "8", "--quiet", "--out", "g.pt"]


def contrast(*arguments: str) -> int:
    return main(["contrast", "--model", "builtin:tiny", *arguments, *QUICK])


def test_each_task_held_out_both_ways_over_alpha(
    tuples: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--hold_out", "each", "--both_directions", "--alpha", "0.5,2"]
    assert contrast("--tuples_dataset", str(tuples), *flags) == 0
    names = {path.name for path in tuples.parent.iterdir()} - {tuples.name}
    expected = {
        f"g.{task}{ending}"
        for task in ("antonym", "singular-plural")
        for ending in (".pt", ".reversed.pt", ".tradeoff.png")
    }
    assert names == expected | {"g.contrast.json"}
    results = ContrastResults.load("g.contrast.json")
    assert [(run.held_out_task, run.reversed) for run in results.runs] == [
        (task, direction) for task in ("antonym", "singular-plural") for direction in (False, True)
    ]
    for run in results.runs:
        assert [(fit.alpha, fit.seed) for fit in run.fits] == [
            (0.5, 42),
            (0.5, 43),
            (2.0, 42),
            (2.0, 43),
        ]
        assert all(fit.unseen_forget is not None for fit in run.fits)
        ending = ".reversed.pt" if run.reversed else ".pt"
        gates = chg.HeadGates.load(f"g.{run.held_out_task}{ending}")
        best = run.fits[run.best]
        assert (gates.metadata["alpha"], gates.metadata["seed"]) == (best.alpha, best.seed)
        assert gates.metadata["configuration"]["alpha"] == "0.5,2"
    assert results.metadata["model"].endswith("tiny")
    text = capsys.readouterr().out
    for words in ("left out of fitting", "retain, best", "over starts, at alpha"):
        assert words in text


def test_one_direction_of_tuples_leaves_the_gate_file_alone(tuples: Path) -> None:
    assert contrast("--tuples_dataset", str(tuples)) == 0
    assert {path.name for path in tuples.parent.iterdir()} == {tuples.name, "g.pt"}
    metadata = chg.HeadGates.load("g.pt").metadata
    assert metadata["dataset"].endswith("(retain)")
    assert metadata["held_out_task"] is None


def test_tuples_with_something_empty_are_left_out(
    tuples: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = builtin_rows("format", None, "train", 4)
    rows[1]["forget_target"] = " "
    _, tokenizer = chg.load_model("builtin:tiny")
    data = load_tuples(str(write(tuples, rows)), tokenizer)
    assert "1 of 4 tuples left out" in caplog.text
    assert data.tasks == tuple(rows[i]["task"] for i in (0, 2, 3))
    assert len(data.retain) == len(data.forget) == 3


def test_the_built_in_tuples_have_a_validation_split_of_every_task() -> None:
    _, tokenizer = chg.load_model("builtin:tiny")
    data = load_tuples("builtin:format", tokenizer, limit=64)
    validation = load_tuples("builtin:format", tokenizer, split="validation")
    assert validation.task_names == tuple(sorted(WORD_PAIRS))
    for retain, forget in zip(data.retain.rows, data.forget.rows, strict=True):
        assert retain.ids[-3:] == forget.ids[-3:], "the same word, colon and answer"
        assert retain.ids[:-3] != forget.ids[:-3]


BAD = {
    "both kinds": (["--forget_dataset", "builtin:copy"], "holds both sides"),
    "both kinds, by a detail": (["--retain_dataset_split", "a"], "holds both sides"),
    "unknown task": (["--hold_out", "anto"], "no rows of task 'anto'; it has antonym, singular"),
    "no tasks": (["--hold_out", "each", "--task_column", "kind"], "name its column of tasks"),
    "alpha": (["--alpha", "1,x"], "--alpha must be a number"),
    "no such split": (["--tuples_dataset_split", "nope"], "nope"),
}


@pytest.mark.parametrize("case", sorted(BAD))
def test_bad_input_is_one_line(case: str, tuples: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments, message = BAD[case]
    refused(capsys, message, "--tuples_dataset", str(tuples), *arguments)
    assert list(tuples.parent.iterdir()) == [tuples]


def refused(capsys: pytest.CaptureFixture[str], message: str, *arguments: str) -> None:
    assert contrast(*arguments) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("chg ")]
    assert message in line


def test_bad_tuples_are_one_line(tuples: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = builtin_rows("format", "antonym", "train", 1)[0]
    flags = ["--tuples_dataset", str(tuples)]
    write(tuples, [{name: row[name] for name in row if name != "forget_target"}])
    refused(capsys, "no column 'forget_target'; matched tuples need retain_prompt", *flags)
    write(tuples, [{**row, "forget_target": ""}])
    refused(capsys, "all 1 tuples have an empty column", *flags)
    write(tuples, [row])
    refused(capsys, "at least 2 are needed", *flags)
    refused(capsys, "no task but 'antonym'", "--hold_out", "each", *flags)
    refused(capsys, "need matched tuples", "--hold_out", "each", "--forget_dataset", "builtin:aba")

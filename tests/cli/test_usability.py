"""Help, suggestions, completion, and data errors that come before the model is loaded."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from chg.cli.contrast import Command as ContrastCommand
from chg.cli.fit import EXAMPLES
from chg.cli.fit import Command as FitCommand
from chg.cli.main import VERBS, main
from chg.cli.parsing import parse_command
from support.cli import loads_torch, run_chg


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line that a bad command puts on stderr."""
    capsys.readouterr()
    assert main(list(arguments)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.parametrize("verb", VERBS)
def test_help_leaves_torch_unloaded(verb: str) -> None:
    loaded, errors = loads_torch(verb, "--help")
    assert not loaded, errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fit", "--modle", "gpt2"], "Perhaps you meant: --model (chg fit --help)"),
        (["fit", "--lambda", "1"], "Perhaps you meant: --lambda_reg or --lambda_scale"),
        (["stduy"], "unknown command 'stduy'; perhaps you meant: study"),
        (["help", "stduy"], "perhaps you meant: study"),
        (["qqqq"], "choose from study, validate"),
        (["--quiet", "fit"], "--quiet must follow a command"),
        (["--tyro-print-completion", "cmd"], "must be followed by bash, zsh, fish"),
        (["--tyro-print-completion"], "must be followed by bash, zsh, fish"),
    ],
)
def test_a_slip_is_answered_with_the_right_word(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in refusal(capsys, *arguments)


def test_an_unknown_flag_without_a_like_is_not_guessed(capsys: pytest.CaptureFixture[str]) -> None:
    assert "Perhaps" not in refusal(capsys, "fit", "--zzz", "three")


def test_version_and_help_in_both_spellings(capsys: pytest.CaptureFixture[str]) -> None:
    shown = []
    for arguments in (["-V"], ["--version"], ["help"], ["--help"]):
        assert main(arguments) == 0
        shown.append(capsys.readouterr().out)
    assert shown[0] == shown[1]
    assert shown[2] == shown[3]
    assert "--tyro-print-completion" in shown[2]
    for arguments in (["help", "inspect"], ["inspect", "--help"]):
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        assert not caught.value.code
        shown.append(capsys.readouterr().out)
    assert shown[4] == shown[5]
    assert "usage: chg inspect" in shown[4]


@pytest.mark.parametrize("before", [[], ["study"]])
def test_completion_knows_verbs_flags_and_choices(before: list[str], tmp_path: Path) -> None:
    script = tmp_path / "completion.bash"
    script.write_text(run_chg(*before, "--tyro-print-completion", "bash").stdout)
    typed = {"chg st": "study", "chg study --lambda_p": "--lambda_path", "chg ablate --mode i": ""}
    typed["chg ablate --mode i"] = "individual"
    for line, completed in typed.items():
        words = line.split()
        asked = (
            f"source {script}; COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; _tyro_chg; "
            'echo "${COMPREPLY[@]}"'
        )
        result = subprocess.run(["bash", "-c", asked], capture_output=True, text=True, check=True)
        assert result.stdout.strip() == completed


NO_FILE, NO_COLUMN = "data file none.jsonl does not exist", "has no column 'words'; it has"
WRONG_DATA = {
    "fit file": (["fit", "--dataset", "none.jsonl"], NO_FILE),
    "fit column": (["fit", "--dataset", "rows.jsonl", "--text_column", "words"], NO_COLUMN),
    "fit split": (["fit", "--dataset", "rows.jsonl", "--dataset_split", "trian"], "trian"),
    "fit reference": (["fit", "--ablation", "mean", "--reference_dataset", "none.jsonl"], NO_FILE),
    "ablate file": (["ablate", "--dataset", "none.jsonl"], NO_FILE),
    "ablate prompts": (["ablate", "--prompts_file", "none.txt"], "none.txt cannot be read"),
    "study column": (["study", "--dataset", "rows.jsonl", "--text_column", "words"], NO_COLUMN),
    "contrast file": (["contrast", "--forget_dataset", "none.jsonl"], NO_FILE),
    "contrast tuples": (
        ["contrast", "--tuples_dataset", "rows.jsonl"],
        "has no column 'retain_prompt'",
    ),
}


@pytest.mark.parametrize("case", sorted(WRONG_DATA))
def test_wrong_data_is_refused_before_torch_is_loaded(case: str, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(json.dumps({"prompt": "a", "target": "b"}) + "\n")
    arguments, message = WRONG_DATA[case]
    defaults = [] if "--dataset" in arguments or "contrast" in case else ["--dataset", "rows.jsonl"]
    if case == "contrast file":
        defaults = ["--retain_dataset", "rows.jsonl"]
    loaded, errors = loads_torch(*arguments, *defaults, cwd=tmp_path)
    assert message in errors
    assert not loaded, errors


def test_wrong_data_of_a_validation_is_refused_before_its_model_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    small = ["--seeds", "2", "--max_steps", "2", "--check_points", "2", "--limit", "8", "--quiet"]
    data = ["--model", "builtin:tiny", "--dataset", "builtin:icl", "--eval_rows", "4"]
    assert main(["study", *data, *small, "--out", "run"]) == 0

    def load_model(*_: object) -> None:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr("chg.models.load_model", load_model)
    assert NO_FILE in refusal(capsys, "validate", "run", "--dataset", "none.jsonl", "--quiet")


def test_dtype_is_the_precision_of_the_weights_and_the_line_names_screening(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    line = refusal(capsys, "ablate", "--dtype", "bfloat16", "--confirm", "20")
    assert "--confirm follows --screening or --mode estimate" in line
    assert "--dtype bfloat16 loads the weights in bfloat16" in line
    small = ["--model", "builtin:tiny", "--dataset", "builtin:aba", "--limit", "4"]
    assert main(["ablate", *small, "--dtype", "bfloat16", "--output", "r.json"]) == 0
    result = json.loads(Path("r.json").read_text())
    assert result["method"] == "exact"
    assert result["metadata"]["dtype"] == "bfloat16"
    assert main(["ablate", *small, "--screening", "--output", "s.json"]) == 0
    result = json.loads(Path("s.json").read_text())
    assert result["method"] == "screening"
    assert result["metadata"]["dtype"] == "float32"


def test_only_the_users_word_runs_a_strangers_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = tmp_path / "settings.yaml"
    settings.write_text("trust_remote_code: true\nmodel: none\n")
    for verb in ("fit", "study", "ablate", "contrast", "inspect"):
        assert "give --trust_remote_code" in refusal(capsys, verb, "--config", str(settings))
    parsed = parse_command(
        FitCommand, ["--config", str(settings), "--trust_remote_code"], "fit", EXAMPLES
    )
    assert parsed.model.trust_remote_code
    settings.write_text("revision: --trust_remote_code\n")
    parsed = parse_command(FitCommand, ["--config", str(settings)], "fit", EXAMPLES)
    assert not parsed.model.trust_remote_code


def test_a_studys_folder_does_not_turn_on_a_strangers_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    small = ["--seeds", "1", "--max_steps", "2", "--check_seeds", "0", "--eval_rows", "4"]
    rows = ["--model", "builtin:tiny", "--dataset", "builtin:aba", "--limit", "8"]
    assert main(["study", *rows, *small, "--out", str(run), "--quiet"]) == 0
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["command"]["trust_remote_code"] = True
    (run / "manifest.json").write_text(json.dumps(manifest))
    assert "give --trust_remote_code" in refusal(capsys, "validate", str(run), "--quiet")


def deep(levels: int) -> str:
    return "[" * levels + "]" * levels


LAUGHS = "a: &a [x]\n" + "\n".join(
    f"{new}: &{new} [*{old}, *{old}, *{old}, *{old}, *{old}, *{old}, *{old}, *{old}]"
    for old, new in zip("abcdefghij", "bcdefghijk", strict=True)
)
WRONG_SETTINGS = {
    "no int": ("epochs: !!int x", "is not YAML"),
    "no float": ("lr: !!float x", "is not YAML"),
    "no bool": ("quiet: !!bool x", "is not YAML"),
    "no time": ("revision: !!timestamp x", "is not YAML"),
    "no date": ("revision: 2020-99-99", "is not YAML: month must be in 1..12"),
    "no hour": ("revision: 2020-01-01T25:61:61Z", "is not YAML: hour must be in 0..23"),
    "an integer of 5,000 digits": ("epochs: " + "9" * 5000, "is not YAML: Exceeds the limit"),
    "deep": (f"dataset: {deep(5000)}", "is not YAML"),
    "mapping": ("dataset: {a: b}", "dataset must be one value, or a list of them"),
    "laughs": (LAUGHS + "\ndataset: *k", "unknown setting 'a'"),
    "laughs in a setting": (
        LAUGHS.replace("a: &a", "dataset: &a"),
        "unknown setting 'b'",
    ),
    "laughs as a value": (
        "dataset: " + LAUGHS.replace("\n", ", ").replace("a: &a", "{a: &a") + "}",
        "dataset must be one value",
    ),
    "help for a bool": ("chat_template: -h", "chat_template must be true or false, got -h"),
    "help for a number": ("epochs: --help", "--epochs"),
    "a long value": ("epochs: " + "x" * 100_000, "--epochs"),
    "a long name": ("x" * 1000 + ": 1", "unknown setting 'xxxx"),
    "a name of bytes": ("dataset: !!binary aGk=", "dataset"),
    "a zero": ('out: "g\\0.pt"', "holds bytes that are not UTF-8"),
    "half a letter": ('model: "\\ud800"', "holds bytes that are not UTF-8"),
    "a negative seed": ("seed: -1", "--seed must be 0 or more, and below 2^62, got -1"),
    "a huge seed": ("seed: " + "9" * 4000, "--seed must be 0 or more, and below 2^62, got 9999"),
    "no data": ('dataset: ""', "--dataset is empty"),
}


@pytest.mark.parametrize("case", sorted(WRONG_SETTINGS))
def test_a_settings_file_that_is_wrong_ends_in_one_line(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text, message = WRONG_SETTINGS[case]
    (tmp_path / "c.yaml").write_text(text)
    given = ["--model", "builtin:tiny", "--out", str(tmp_path / "gates.pt")]
    given = given if "out" not in text else given[:2]
    said = refusal(capsys, "fit", "--config", str(tmp_path / "c.yaml"), *given)
    assert message in said
    assert len(said) < 1000


def test_a_list_in_a_settings_file_is_a_value(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("alpha: [0.5, 1]\n")
    command = parse_command(ContrastCommand, ["--config", str(tmp_path / "c.yaml")], "contrast", "")
    assert command.fit.alphas == (0.5, 1.0)


def test_settings_come_from_files_and_shells_but_no_pipe_is_waited_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "not a file" in refusal(capsys, "fit", "--config", str(tmp_path / "pipe"))
    command = f"{sys.executable} -m chg fit --config <(echo 'epochs: many')"
    said = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert "--epochs" in said.stderr


def test_a_name_that_is_not_utf8_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert "holds bytes that are not UTF-8" in refusal(capsys, "fit", "--dataset", "a\udcff.jsonl")

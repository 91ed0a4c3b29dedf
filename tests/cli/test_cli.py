"""The command line: configuration, help, and one clear line for everything that is wrong."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml

import chg
from chg.cli.contrast import Command as ContrastCommand
from chg.cli.contrast import side_config
from chg.cli.fit import EXAMPLES, Command
from chg.cli.main import main
from chg.cli.parsing import UsageError, flat_settings, parse_command
from chg.cli.terminal import say
from support.local_hub import make_gpt2
from support.repository import ROOT


def parse(*flags: str) -> Command:
    return parse_command(Command, flags, "fit", EXAMPLES)


@pytest.fixture
def workplace(hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in which `gpt2` and `wikitext` are the local ones."""
    for name in ("gpt2", "wikitext"):
        (tmp_path / name).symlink_to(hub / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str) -> int:
    return main(list(arguments))


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run a command that must fail: exit code 2 and one line on stderr."""
    capsys.readouterr()
    assert run(*arguments) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("chg ")]
    assert len(lines) == 1
    return lines[0]


def test_defaults_are_the_specifications() -> None:
    settings = flat_settings(parse())
    expected = {
        "model": "gpt2",
        "dataset": "wikitext",
        "dataset_split": "train",
        "seed": 42,
        "batch_size": 4,
        "epochs": 3,
        "lr": 0.01,
        "trust_remote_code": False,
        "report_to": "none",
        "lambda_reg": 0.0,
        "grad_accum_steps": 1,
    }
    assert {name: settings[name] for name in expected} == expected
    assert parse().data.resolved_config == "wikitext-2-raw-v1"
    assert chg.AnalysisConfig().top_k == 50


def test_flags_read_with_underscores_and_hyphens() -> None:
    assert parse("--lambda_reg", "-0.1").fit.lambda_reg == -0.1
    assert parse("--lambda-reg", "-0.1", "--dataset-split", "train[:5]") == parse(
        "--lambda_reg", "-0.1", "--dataset_split", "train[:5]"
    )


def test_flags_override_yaml_overrides_defaults(tmp_path: Path) -> None:
    file = tmp_path / "fit.yaml"
    file.write_text("lr: 0.02\nepochs: 7\nchat-template: true\nrevision: null\n")
    command = parse("--config", str(file), "--epochs", "2")
    assert (command.fit.lr, command.fit.epochs, command.fit.seed) == (0.02, 2, 42)
    assert command.data.chat_template
    assert command.model.revision is None
    # What is stored with an output is a configuration that gives the same command.
    stored = tmp_path / "stored.yaml"
    stored.write_text(yaml.safe_dump(flat_settings(command)))
    assert flat_settings(parse("--config", str(stored))) == flat_settings(command)


def test_both_sides_of_a_contrast_have_their_own_data() -> None:
    flags = [
        "--retain_dataset_split",
        "a",
        "--forget_dataset",
        "x.csv",
        "--forget_text_column",
        "t",
    ]
    command = parse_command(ContrastCommand, flags, "contrast", "")
    retain, forget = side_config(command, "retain"), side_config(command, "forget")
    assert (retain.dataset, retain.dataset_split, retain.text_column) == ("wikitext", "a", None)
    assert (forget.dataset, forget.dataset_split, forget.text_column) == ("x.csv", "train", "t")


def test_every_shipped_configuration_loads() -> None:
    files = sorted((ROOT / "configs").glob("*.yaml"))
    assert files
    for file in files:
        verb = file.stem.split("_")[0]
        module = __import__(f"chg.cli.{verb}", fromlist=["Command"])
        parse_command(module.Command, ["--config", str(file)], verb, "")


@pytest.mark.parametrize(
    "verb", ["fit", "ablate", "contrast", "analyze", "inspect", "demo", "study", "validate"]
)
def test_help_shows_every_flag_with_default_and_two_examples(
    verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        run(verb, "--help")
    assert caught.value.code == 0
    text = capsys.readouterr().out
    module = __import__(f"chg.cli.{verb}", fromlist=["Command"])
    for name in flat_settings(module.Command()):
        assert f"--{name}" in text
    assert text.count("(default") >= len(flat_settings(module.Command()))
    if verb != "demo":
        assert text.count(f"  chg {verb} ") >= 2


def test_help_does_not_import_torch() -> None:
    code = (
        "import sys; from chg.cli import main\n"
        "try: main(['fit', '--help'])\n"
        "except SystemExit: pass\n"
        "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    began = time.perf_counter()
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert result.returncode == 0, result.stderr
    assert time.perf_counter() - began < 10  # half a second on an idle machine


def test_overview_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 0
    assert "contrast" in capsys.readouterr().out
    assert run("--version") == 0
    assert capsys.readouterr().out.strip()


BAD = {
    "unknown verb": (["fti"], "unknown command 'fti'"),
    "mode typo": (["ablate", "--mode", "indvidual"], "invalid choice 'indvidual'"),
    "unknown flag": (["fit", "--lambda", "1"], "--lambda"),
    "no number": (["fit", "--epochs", "three"], "--epochs"),
    "zero batch": (["fit", "--batch_size", "0"], "--batch_size must be greater than 0"),
    "negative epochs": (["fit", "--epochs", "-1"], "--epochs must be greater than 0"),
    "zero lr": (["fit", "--lr", "0"], "--lr must be greater than 0"),
    "nan lr": (["fit", "--lr", "nan"], "--lr must be greater than 0"),
    "bad init": (["fit", "--gate_init", "2"], "--gate_init"),
    "one of two columns": (["fit", "--prompt_column", "a"], "go together"),
    "one of two fits": (["analyze", "--gates_removal", "a.pt"], "go together"),
    "no forget side": (["contrast"], "--forget_dataset must be given"),
    "no config": (["fit", "--config", "none.yaml"], "none.yaml cannot be read"),
    "wrong ending": (["fit", "--out", "gates.json"], "must end in .pt or .safetensors"),
    "unknown model": (["fit", "--model", "gtp2"], "builtin:tiny"),
    "unknown built-in": (["fit", "--model", "builtin:huge"], "built in: builtin:tiny"),
    "missing folder": (["fit", "--model", "./nothing"], "does not exist"),
    "bad device": (["fit", "--device", "tpu9"], "device 'tpu9'"),
    "unknown dataset": (["fit", "--dataset", "wikitxt"], "builtin:icl"),
    "missing column": (["fit", "--text_column", "words"], "no column 'words'; it has text"),
    "missing split": (["fit", "--dataset_split", "trian"], "trian"),
    "missing dataset config": (["fit", "--dataset_config", "wikitext-3"], "wikitext-3"),
    "empty prompts": (["ablate", "--prompts_file", "empty.txt"], "is empty"),
    "missing gates": (["fit", "--init", "none.pt"], "does not exist"),
    "truncated gates": (["ablate", "--gates", "truncated.pt"], "truncated.pt"),
    "not gates": (["ablate", "--gates", "notes.pt"], "not a gate file"),
    "other shape": (["ablate", "--gates", "other.pt"], "belongs to another model"),
    "unwritable": (["fit", "--out", "notes.pt/gates.pt"], "cannot write"),
    "missing results": (["analyze"], "does not exist; make one with `chg ablate`"),
    "missing tracker": (["fit", "--report_to", "wandb", "--max_steps", "1"], "pip install wandb"),
}


@pytest.mark.parametrize("case", sorted(BAD))
def test_bad_input(case: str, workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"notes": 1}, workplace / "notes.pt")
    chg.HeadGates(torch.zeros(3, 5)).save("other.pt")
    whole = chg.HeadGates(torch.zeros(2, 4)).save("truncated.pt").read_bytes()
    (workplace / "truncated.pt").write_bytes(whole[:400])
    (workplace / "empty.txt").write_text("\n")
    before = sorted(path.name for path in workplace.iterdir())
    arguments, message = BAD[case]
    if case == "missing tracker":
        pytest.importorskip("chg")
        if _installed("wandb"):
            pytest.skip("wandb is installed here")
    assert message in refused(capsys, *arguments)
    assert sorted(path.name for path in workplace.iterdir()) == before


def _installed(name: str) -> bool:
    from importlib.util import find_spec

    return find_spec(name) is not None


def test_yaml_mistakes(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for text, message in (
        ("lamda: 1", "unknown setting 'lamda'"),
        ("[1, 2]", "name: value"),
        ("a: [", "is not YAML"),
        ("epochs: many", "--epochs"),
        ("lr: -1", "--lr must be greater"),
    ):
        (workplace / "c.yaml").write_text(text)
        assert message in refused(capsys, "fit", "--config", "c.yaml")


def test_heads_that_do_not_divide(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_gpt2(workplace / "odd")
    config = workplace / "odd" / "config.json"
    config.write_text(config.read_text().replace('"n_head": 4', '"n_head": 5'))
    assert "odd" in refused(capsys, "fit", "--model", "odd")


def test_gates_of_another_model_of_the_same_shape_warn(
    workplace: Path, caplog: pytest.LogCaptureFixture
) -> None:
    chg.HeadGates(torch.zeros(2, 4), {"model": "distilgpt2"}).save("gates.pt")
    assert run("ablate", "--gates", "gates.pt", "--limit", "3", "--quiet") == 0
    assert "fitted on distilgpt2, not on gpt2" in caplog.text
    assert (workplace / "ablation_results.json").exists()


def test_nan_keeps_the_last_good_gates(
    workplace: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from chg.engine import Engine

    real, calls = Engine.measure, []

    def broken(
        engine: Engine, gates: torch.Tensor, batch: object, *targets: object
    ) -> torch.Tensor:
        calls.append(1)
        value = real(engine, gates, batch, *targets)  # type: ignore[arg-type]
        return value * float("nan") if len(calls) == 3 else value

    monkeypatch.setattr(Engine, "measure", broken)
    message = refused(capsys, "fit", "--out", "gates.pt", "--quiet")
    assert "at update 3" in message
    assert "gates.last_good.pt" in message
    assert torch.isfinite(chg.HeadGates.load("gates.last_good.pt").logits).all()
    assert not (workplace / "gates.pt").exists()


def test_tensorboard_receives_the_figures(workplace: Path) -> None:
    if not _installed("tensorboard"):
        pytest.skip("tensorboard is not installed")
    assert run("fit", "--report_to", "tensorboard", "--max_steps", "3", "--quiet") == 0
    assert list(workplace.glob("runs/**/events*"))


def test_usage_error_is_a_config_error() -> None:
    with pytest.raises(UsageError, match="invalid choice"):
        parse("--dtype", "float31")


def test_say(capsys: pytest.CaptureFixture[str]) -> None:
    say("hello")
    assert capsys.readouterr().out == "hello\n"

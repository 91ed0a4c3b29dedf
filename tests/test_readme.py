"""What the README says: its flags, its call and its Python."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

import chg
from chg.errors import ArchitectureError
from chg.gating.gate_wrapper import gated
from chg.models.architectures import find_head_sites
from support.gates import tokens
from support.odd_model import Odd
from support.repository import ROOT
from support.tiny_models import HEADS, LAYERS

README = (ROOT / "README.md").read_text()


def test_the_call_in_the_readme_registers_an_architecture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chg.models.layouts._registered", {})
    model = Odd(model_type="mymodel")
    with pytest.raises(ArchitectureError, match=r'chg\.register_architecture\("mymodel"'):
        find_head_sites(model)
    (call,) = re.findall(r"^chg\.(register_architecture\(.*\))$", README, re.MULTILINE)
    assert f">>> {call}\n" in (chg.register_architecture.__doc__ or "")
    exec(f"chg.{call}")
    with gated(model, torch.zeros(LAYERS, HEADS)):
        assert torch.equal(model(tokens()).logits, model.embed(tokens()))


def test_the_readmes_shell_blocks_name_real_flags() -> None:
    """Every long flag the README shows is a flag of some command."""
    from chg.cli.ablate import Command as Ablate
    from chg.cli.analyze import Command as Analyze
    from chg.cli.contrast import Command as Contrast
    from chg.cli.demo import Command as Demo
    from chg.cli.fit import Command as Fit
    from chg.cli.inspect import Command as Inspect
    from chg.cli.parsing import flat_settings
    from chg.cli.study import Command as Study
    from chg.cli.validate import Command as Validate

    known = {"help", "config", "version"}
    for command in (Fit, Ablate, Contrast, Analyze, Inspect, Demo, Study, Validate):
        known |= set(flat_settings(command()))
    readme = README
    shown = set(re.findall(r"(?<![\w-])--([a-z][a-z_]+)", readme))
    assert shown
    assert shown <= known, shown - known


def test_the_readmes_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it stands, but for fewer updates and without pictures."""
    blocks = re.findall(r"```python\n(.*?)```", README, re.S)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("chg.report.folder.save_figures", lambda *_: [])
    names: dict[str, Any] = {}
    exec(re.sub(r"max_steps=\d+", "max_steps=2", blocks[0]), names)
    assert len(names["study"].heads) == 32
    assert (tmp_path / "runs" / "icl" / "report.html").is_file()

"""The self-test passes, and every kind of check fails when what it checks is broken."""

from __future__ import annotations

import subprocess
import sys
from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from chg.cli.main import main
from chg.selftest import checks, run_selftest


def test_it_passes_end_to_end_as_a_command_without_a_network() -> None:
    """In a process of its own, as CI and users run it, with all connections refused."""
    code = (
        "import socket, sys\n"
        "def refuse(*_): raise OSError('no network')\n"
        "socket.socket.connect = refuse\n"
        "from chg.cli import main\n"
        "sys.exit(main(['selftest', '--quiet']))"
    )
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert f"{len(checks.CHECKS)} of {len(checks.CHECKS)} checks passed in " in result.stdout
    first, second, *_ = result.stdout.splitlines()
    assert "torch 2." in first
    assert "transformers " in first
    assert second == "Known answers"
    assert "NO" not in result.stdout
    assert not result.stderr


def only(monkeypatch: pytest.MonkeyPatch, *beginnings: str) -> None:
    """Leave in the self-test only checks whose names begin so."""
    chosen = tuple(check for check in checks.CHECKS if check.name.startswith(beginnings))
    assert chosen
    monkeypatch.setattr(checks, "CHECKS", chosen)


def failing(monkeypatch: pytest.MonkeyPatch, *beginnings: str) -> dict[str, str]:
    """Names of the checks that fail with what they found."""
    only(monkeypatch, *beginnings)
    return {check.name: check.found for check in run_selftest() if not check.passed}


def test_gates_at_the_wrong_site(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The input of GPT-2's query, key and value projection is as wide, but holds no heads."""
    from chg.gating import gate_wrapper

    real = gate_wrapper.find_head_sites

    def wrong(model: nn.Module) -> Any:
        found = real(model)
        sites = tuple(
            replace(site, projection=getattr(site.attention, "c_attn", site.projection))
            for site in found
        )
        return replace(found, sites=sites)

    monkeypatch.setattr(gate_wrapper, "find_head_sites", wrong)
    only(monkeypatch, "gates of 1", "closed head", "gates = in weights")
    assert main(["selftest", "--quiet"]) == 1
    printed = capsys.readouterr()
    assert "7 of 9 checks passed" in printed.out
    assert printed.err == (
        "chg selftest: 2 of 9 checks failed: closed head = zeroed, GPT-2; gates = in weights, "
        "GPT-2\n"
    )


def test_gates_rounded_to_half_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    def rounded(heads: Tensor, gates: Tensor, site: Any, reference: Any = None) -> Tensor:
        del reference
        scaled: Tensor = site.per_head(heads).bfloat16() * gates[..., None]
        return scaled.to(heads.dtype).view_as(heads)

    monkeypatch.setattr("chg.gating.hooks.scale_heads", rounded)
    found = failing(monkeypatch, "gates of 1", "gates = in weights")
    assert len(found) == 6
    assert all("gates of 1 changed the logits" in text for text in found.values())


def test_hooks_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    from chg.gating.hooks import AttachedGates

    monkeypatch.setattr(AttachedGates, "remove", lambda _self: None)
    assert len(failing(monkeypatch, "left behind")) == 3


def test_flags_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    def freeze(model: nn.Module) -> Any:
        return nullcontext(model.eval())

    monkeypatch.setattr("chg.engine.engine.frozen", freeze)
    assert set(failing(monkeypatch, "left behind").values()) == {"changed: training"}


def test_an_engine_that_is_a_little_off(monkeypatch: pytest.MonkeyPatch) -> None:
    from chg.ablation import ablate

    real = ablate.evaluate_gates

    def off(*arguments: Any, **settings: Any) -> Any:
        scores = real(*arguments, **settings)
        return [replace(one, logprob_sums=one.logprob_sums * 1.01) for one in scores]

    monkeypatch.setattr(ablate, "evaluate_gates", off)
    assert len(failing(monkeypatch, "ablation")) == 4


def test_a_gradient_that_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    from chg.engine import Engine

    real = Engine.measure

    def cut(engine: Engine, gates: Tensor, batch: Any, *targets: Any) -> Tensor:
        return real(engine, torch.cat([gates[:, :1].detach(), gates[:, 1:]], 1), batch, *targets)

    monkeypatch.setattr(Engine, "measure", cut)
    assert list(failing(monkeypatch, "gradient")) == ["gradient = finite differences"]


def test_roles_from_fits_that_are_swapped(monkeypatch: pytest.MonkeyPatch) -> None:
    from chg.results.roles import classify_heads
    from chg.selftest import fixtures

    monkeypatch.setattr(
        fixtures, "classify_heads", lambda retention, removal: classify_heads(removal, retention)
    )
    assert failing(monkeypatch, "role") == {"roles of the others": "0 irrelevant"}


def test_duplicates_that_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model without any, and a study that sees none."""
    from chg.selftest import fixtures
    from chg.selftest.planted import planted_model

    roles = np.full((fixtures.SEEDS, 2, 4), "facilitating")
    blind = SimpleNamespace(roles=roles, redundant=())
    monkeypatch.setattr(fixtures, "redundant_model", planted_model)
    monkeypatch.setattr(fixtures, "study", lambda *_, **__: blind)
    found = failing(monkeypatch, "ablating duplicate L0H0", "L0H", "just one", "redundant")
    assert float(found.pop("ablating duplicate L0H0")) < -1
    assert found == {
        "L0H0 facilitating, seeds": "6 of 6",
        "L0H2 facilitating, seeds": "6 of 6",
        "just one of the two, seeds": "0 of 6",
        "redundant pair": "none",
    }


def test_contrastive_sides_that_are_mixed_up(monkeypatch: pytest.MonkeyPatch) -> None:
    from chg.selftest import fixtures

    monkeypatch.setattr(fixtures, "RETAINED", range(8, 16))
    monkeypatch.setattr(fixtures, "FORGOTTEN", range(0, 8))
    found = failing(monkeypatch, "contrast")
    assert set(found) == {"contrast, keeps L0H0", "contrast, closes L1H2"}


def test_an_error_is_a_failed_check_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_fixtures: object) -> Any:
        raise ValueError("a [b] c")

    first, *rest = (check for check in checks.CHECKS if check.name.startswith("gates of 1"))
    monkeypatch.setattr(checks, "CHECKS", (replace(first, find=broken), *rest))
    seen: list[bool] = []
    done = run_selftest(lambda check: seen.append(check.passed))
    assert done[0].found == "ValueError: a [b] c"
    assert seen == [False, True, True]

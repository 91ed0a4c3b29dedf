"""Progress: bars on an 80-column terminal, lines without one."""

from __future__ import annotations

import io
import logging
import sys
import time
import warnings
from pathlib import Path

import pytest

from chg import progress
from chg.progress import progress_bar
from support.cli import COLUMNS, on_a_terminal

SLOW_JOB = """
import time
from chg.progress import progress_bar
with progress_bar(500, "fitting G+ and G-, 20 fits", show=True) as bar:
    for i in range(4):
        time.sleep(0.15)
        bar.set_status("mean loss 3.214, 20 moving, and much more that nobody can read")
        bar.update()
"""


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that is set by hand."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_eighty_columns_show_the_loss_and_the_time_left(tmp_path: Path) -> None:
    lines = on_a_terminal([sys.executable, "-c", SLOW_JOB], tmp_path)
    assert all(len(line) <= COLUMNS for line in lines)
    drawn = [line for line in lines if "3/500" in line]
    assert drawn
    assert " left, mean loss 3.214" in drawn[-1]
    assert "?" not in drawn[-1]


def test_a_fit_and_an_ablation_draw_whole_lines_without_warnings(tmp_path: Path) -> None:
    data = ["--model", "builtin:tiny", "--dataset", "builtin:icl", "--limit", "64"]
    fit = ["fit", *data, "--max_steps", "40", "--out", "gates.pt"]
    lines = on_a_terminal([sys.executable, "-m", "chg", *fit], tmp_path)
    bars = [line for line in lines if "fitting gates |" in line]
    assert any(" left, loss " in line for line in bars)
    ablate = ["ablate", *data, "--output", "r.json"]
    lines += on_a_terminal([sys.executable, "-m", "chg", *ablate], tmp_path)
    assert any("32/32" in line for line in lines)
    assert not any("Warning" in line for line in lines)


def test_fractions_never_pass_the_total(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with progress_bar(1, "ablating heads", show=True, unit="head") as bar:
            for _ in range(11):
                bar.update(0.1)
                bar._bar.refresh()
    assert "1/1" in sys.stderr.getvalue()


def test_without_a_terminal_a_line_says_update_loss_and_time_left(
    clock: list[float], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.05)
    caplog.set_level(logging.INFO, "chg.progress")
    with progress_bar(100, "fitting gates", show=True, initial=20) as bar:
        clock[0] = 60.0
        bar.set_status("loss 3.214")
        bar.update(20)
        deadline = time.time() + 10
        while not caplog.messages and time.time() < deadline:
            time.sleep(0.01)  # no update is needed for a line
        clock[0] = 90.0
    # 20 of the 80 that were left took a minute.
    assert "fitting gates: update 40 of 100, 03:00 left, loss 3.214" in caplog.messages
    assert caplog.messages[-1] == "fitting gates: update 40 of 100, in 01:30, loss 3.214"


def test_silence_lasts_half_a_minute_at_most() -> None:
    assert progress.SECONDS_BETWEEN_LINES <= 30


def test_nothing_is_shown_or_said_unless_asked_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    caplog.set_level(logging.INFO, "chg.progress")
    with progress_bar(2, "fitting gates", show=False) as bar:
        bar.update()
    assert not terminal.getvalue()
    assert not caplog.messages

"""Run the command line and look at its output, in this process or in a real 80-column terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from pathlib import Path

COLUMNS = 80


def run_chg(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run `chg` in a process of its own, without a terminal."""
    return subprocess.run(
        [sys.executable, "-m", "chg", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
    )


def loads_torch(*arguments: str, cwd: Path | None = None) -> tuple[bool, str]:
    """Run `chg` and say whether torch was imported on the way, and what stderr says."""
    code = (
        "import sys\nfrom chg.cli import main\n"
        f"try: main({list(arguments)!r})\nexcept SystemExit: pass\n"
        "sys.exit(10 if {'torch', 'transformers'} & set(sys.modules) else 0)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=cwd
    )
    assert result.returncode in (0, 10), result.stderr
    return result.returncode == 10, result.stderr


def on_a_terminal(command: list[str], cwd: Path) -> list[str]:
    """Every line that a command draws on a terminal of 80 columns, redrawn ones included."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, COLUMNS, 0, 0))
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=cwd)
    os.close(theirs)
    pieces = []
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # the other side is closed
            break
        if not piece:
            break
        pieces.append(piece)
    os.close(ours)
    text = b"".join(pieces).decode(errors="replace")
    assert process.wait() == 0, text
    return [line for line in text.replace("\n", "\r").split("\r") if line.strip()]

"""Files have the mode that the umask gives, whatever library writes them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
import torch

from chg import HeadGates
from chg.errors import OutputError
from chg.files import atomic_path


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_gate_files_have_the_mode_of_their_neighbours(mask: int, tmp_path: Path) -> None:
    before = os.umask(mask)
    try:
        (tmp_path / "neighbour").touch()
        files = [
            HeadGates(torch.zeros(2, 4)).save(tmp_path / f"gates.{ending}")
            for ending in ("safetensors", "pt")
        ]
    finally:
        os.umask(before)
    for file in (tmp_path / "neighbour", *files):
        assert stat.S_IMODE(Path(file).stat().st_mode) == 0o666 & ~mask


def test_a_writer_that_writes_nothing_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(OutputError), atomic_path(tmp_path / "file"):
        pass
    assert not list(tmp_path.iterdir())

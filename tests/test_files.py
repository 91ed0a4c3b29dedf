"""Writing: whole or not at all, whatever stands in the way; and what killed runs leave is swept."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure
from safetensors.torch import save_file

from chg import HeadGates
from chg.errors import OutputError, ResultsError
from chg.files import (
    atomic_path,
    ensure_folder,
    ensure_writable,
    name_part,
    read_json,
    write_json,
)
from support.limits import files_of_at_most

LARGE = torch.zeros(100, 100)
TABLE = pd.DataFrame({"a": range(10_000)})


def _draw(path: Path) -> None:
    figure = Figure()
    figure.add_subplot().plot(range(1000))
    figure.savefig(path)


def _written(write: object):  # type: ignore[no-untyped-def]
    def save(path: Path) -> None:
        with atomic_path(path) as temporary:
            write(temporary)  # type: ignore[operator]

    return save


WRITERS = {
    "gates.pt": HeadGates(LARGE).save,
    "gates.safetensors": HeadGates(LARGE).save,
    "kept.safetensors": _written(lambda path: save_file({"a": LARGE}, path)),
    "heads.csv": _written(TABLE.to_csv),
    "heads.parquet": _written(TABLE.to_parquet),
    "figure.png": _written(_draw),
    "figure.pdf": _written(_draw),
    "results.json": lambda path: write_json(path, {"a": list(range(10_000))}),
}


@pytest.mark.parametrize("name", sorted(WRITERS))
def test_a_file_that_does_not_fit_is_said_so_and_the_old_one_stays(
    name: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_text("old")
    with files_of_at_most(4096), pytest.raises(OutputError, match=f"cannot write .*{name}: "):
        WRITERS[name](tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "old"
    WRITERS[name](tmp_path / name)
    assert (tmp_path / name).read_bytes() != b"old"


@pytest.mark.parametrize("kind", ["pipe", "device", "link to a device"])
def test_what_is_no_file_is_not_replaced(kind: str, tmp_path: Path) -> None:
    target = tmp_path / "out.json"
    if kind == "pipe":
        os.mkfifo(target)
    elif kind == "device":
        target = Path("/dev/null")
    else:
        target.symlink_to("/dev/null")
    for write in (ensure_writable, lambda path: write_json(path, {})):
        with pytest.raises(OutputError, match="it is a device or a pipe; give a file name"):
            write(target)
    assert not target.is_file()


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "results.json")
    with pytest.raises(ResultsError, match="not a file"):
        read_json(tmp_path / "results.json")


def test_the_longest_names_are_written(tmp_path: Path) -> None:
    write_json(tmp_path / f"{'n' * 250}.json", {})
    with pytest.raises(OutputError, match="name too long"):
        ensure_writable(tmp_path / f"{'n' * 251}.json")


def test_two_writers_of_one_process_never_mix(tmp_path: Path) -> None:
    path, torn = tmp_path / "results.json", []

    def write(letter: str) -> None:
        for _ in range(30):
            write_json(path, {"a": letter * 200_000})
            torn.append(len(set(read_json(path)["a"])) != 1)

    threads = [threading.Thread(target=write, args=(letter,)) for letter in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert torn == [False] * 60
    assert [file.name for file in tmp_path.iterdir()] == ["results.json"]


HALF_WAY = """
import sys, time
from chg.files import atomic_path
with atomic_path(sys.argv[1]) as temporary:
    temporary.write_text("half")
    print(flush=True)
    time.sleep(60)
"""


def test_what_a_killed_run_leaves_is_swept_and_what_a_living_one_writes_is_not(
    tmp_path: Path,
) -> None:
    others = tmp_path / ".mine.partial"
    others.mkdir()
    command = [sys.executable, "-c", HALF_WAY, str(tmp_path / "results.json")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        ensure_folder(tmp_path)
        (left,) = set(tmp_path.iterdir()) - {others}
        assert left.name.startswith(".chg-")
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    ensure_folder(tmp_path)
    assert list(tmp_path.iterdir()) == [others]


def test_every_task_has_a_name_of_its_own_that_fits() -> None:
    tasks = ["a", "a.reversed", "a%2Ereversed", "a/b", "..", "国" * 99, "国" * 100, "n" * 5000]
    names = [name_part(task) for task in tasks]
    assert len(set(names)) == len(tasks)
    for name in names:
        assert len(os.fsencode(name)) <= 120
        assert not set("./") & set(name)

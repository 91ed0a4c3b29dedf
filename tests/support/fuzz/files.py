"""Files of every kind that chg reads, and the calls that read them."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import chg
from chg.cli import main
from chg.cli.fit import Command
from chg.cli.parsing import parse_command
from chg.config import DataConfig
from chg.data import open_rows
from chg.report.page import render_page
from support.fuzz.mutations import damage
from support.limits import files_of_at_most

SMALL = [
    *("--model", "builtin:tiny", "--dataset", "builtin:icl", "--limit", "8", "--quiet"),
    *("--seeds", "1", "--max_steps", "2", "--eval_rows", "4", "--check_points", "2"),
]
YAML = "lr: 0.02\nepochs: 7\nmodel: builtin:tiny\nchat_template: true\nrevision: null\nseed: 3\n"
ROWS = [{"prompt": f"the number {i} is", "target": "even", "text": "a b c"} for i in range(5)]


@dataclass(frozen=True)
class Kind:
    """A kind of file or folder, and the call that reads it."""

    name: str
    read: Callable[[Path], object]
    share: float = 1.0
    """Cases of this kind for each case of others; slow ones have fewer."""


def _read_settings(path: Path) -> object:
    return parse_command(Command, ["--config", str(path)], "fit", "")


def _read_rows(path: Path) -> object:
    return open_rows(DataConfig(dataset=str(path)), 0)


def _read_study(path: Path) -> object:
    return render_page(chg.Study.load(path))


def _resume(path: Path) -> object:
    with patch("chg.report.folder.save_figures"):  # they take most of the time
        code = main(["study", *SMALL, "--out", str(path), "--resume"])
    assert code in (0, 2), code
    return code


KINDS = (
    Kind("settings.yaml", _read_settings),
    Kind("rows.jsonl", _read_rows),
    Kind("rows.json", _read_rows),
    Kind("rows.csv", _read_rows),
    Kind("rows.txt", _read_rows),
    Kind("rows.parquet", _read_rows),
    Kind("gates.pt", chg.HeadGates.load),
    Kind("gates.safetensors", chg.HeadGates.load),
    Kind("ablation.json", chg.AblationResult.load),
    Kind("finished", _read_study, share=0.1),
    Kind("unfinished", _resume, share=0.05),
)


def make_originals(folder: Path) -> None:
    """Write a sound file of each kind."""
    import pandas as pd

    (folder / "settings.yaml").write_text(YAML)
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    (folder / "rows.json").write_text(json.dumps(ROWS))
    pd.DataFrame(ROWS).to_csv(folder / "rows.csv", index=False)
    pd.DataFrame(ROWS).to_parquet(folder / "rows.parquet")
    (folder / "rows.txt").write_text("one two three\nfour five six\n")
    model, tokenizer = chg.load_model("builtin:tiny")
    data = chg.load_data("builtin:icl", tokenizer, limit=4)
    gates = chg.fit_gates(model, data, max_steps=1, show_progress=False).gates
    for name in ("gates.pt", "gates.safetensors"):
        gates.save(folder / name)
    chg.ablate_heads(model, data, show_progress=False).save(folder / "ablation.json")
    with files_of_at_most(12_000):  # all but the pictures, so that there is something to resume
        assert main(["study", *SMALL, "--out", str(folder / "unfinished")]) == 2
    shutil.copytree(folder / "unfinished", folder / "finished")
    assert main(["study", *SMALL, "--out", str(folder / "finished"), "--resume"]) == 0
    shutil.rmtree(folder / "finished" / "figures")


def make_case(originals: Path, kind: Kind, number: int, folder: Path) -> Path:
    """Copy a sound file or folder, and damage it as the number of the case says."""
    path, original = folder / kind.name, originals / kind.name
    rng = random.Random(f"{kind.name} {number}")
    if original.is_file():
        shutil.copy(original, path)
        damage(path, rng)
        return path
    shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(original, path)
    inside = [file for file in sorted(path.rglob("*")) if file.is_file() and file.stat().st_size]
    damage(rng.choice([file for file in inside if file.suffix != ".html"]), rng)
    return path

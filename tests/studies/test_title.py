"""Names of a study: its title, and models and data without the folders above them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from chg import study
from chg.files import counted, short_name
from chg.report import Study
from chg.report.page import save_page
from chg.selftest.planted import copy_rows, planted_model


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("/home/someone/models/mine", "mine"),
        ("/home/someone/models/mine/", "mine"),
        ("~/rows.jsonl:train", "rows.jsonl:train"),
        ("../rows.csv:train[:10%]", "rows.csv:train[:10%]"),
        (r"C:\data\my rows.jsonl:train", "my rows.jsonl:train"),
        ("meta-llama/Llama-3.2-1B", "meta-llama/Llama-3.2-1B"),
        ("wikitext/wikitext-2-raw-v1:train", "wikitext/wikitext-2-raw-v1:train"),
        ("builtin:icl:train", "builtin:icl:train"),
        ("", ""),
    ],
)
def test_a_path_is_shown_by_its_last_part(name: str, shown: str) -> None:
    assert short_name(name) == shown


def test_a_relative_path_is_one_where_it_exists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert short_name("data/rows.jsonl:train") == "data/rows.jsonl:train"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "rows.jsonl").touch()
    assert short_name("data/rows.jsonl:train") == "rows.jsonl:train"
    assert short_name(".") == tmp_path.name


def test_one_is_no_plural() -> None:
    assert [counted(number, "seed") for number in (0, 1, 2)] == ["0 seeds", "1 seed", "2 seeds"]


def test_a_study_is_called_as_one_likes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def save_the_page_alone(found: Study, folder: Path) -> None:
        save_page(found, folder / "report.html")

    monkeypatch.setattr("chg.studies.run.save_study", save_the_page_alone)
    model, out = planted_model(), tmp_path / "run"
    model.config._name_or_path = "/home/someone/models/planted"
    data = dataclasses.replace(copy_rows(8), name="/home/someone/copy.jsonl:train")
    settings = {"seeds": 1, "max_steps": 2, "check_seeds": 1, "out": out, "show_progress": False}
    usual = study(model, data, held_out=copy_rows(4, 9), **settings)
    assert usual.manifest["title"] == "planted on copy.jsonl:train"
    assert usual.manifest["model"]["model"] == "/home/someone/models/planted"
    assert usual.manifest["summary"].startswith("1 starting point of planted (2 layers")
    assert usual.manifest["summary"].endswith("from the G+ of 1 seed.")
    page = (out / "report.html").read_text()
    assert "/home/someone" not in page
    gates = (out / "gates.safetensors").read_bytes()
    for title in ("Planted heads", None):
        resumed = {**settings, "resume": True, "title": title}
        found = study(model, data, held_out=copy_rows(4, 9), **resumed)
        assert found.manifest["title"] == "Planted heads"
        assert json.loads((out / "manifest.json").read_text())["title"] == "Planted heads"
        assert "<h1>Planted heads</h1>" in (out / "report.html").read_text()
    assert (out / "gates.safetensors").read_bytes() == gates


@pytest.mark.parametrize(
    ("seeds", "said"), [(0, "scored tokens)."), (3, "in their order from the G+ of 1 seed.")]
)
def test_a_summary_counts_the_seeds_that_were_checked(seeds: int, said: str) -> None:
    """None without a check; fewer than were asked for on a model whose heads are soon ablated."""
    settings = {"seeds": 3, "max_steps": 2, "check_seeds": seeds, "show_progress": False}
    found = study(planted_model(), copy_rows(8), held_out=copy_rows(4, 9), **settings)
    assert found.manifest["summary"].endswith(said)

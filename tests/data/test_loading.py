"""Where rows come from, and what is refused."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from chg import load_data, load_prompts
from chg.config.data import DataConfig
from chg.data import TokenData, open_held_out, open_rows, take_held_out
from chg.errors import DataError
from support.local_hub import SENTENCES
from support.rows import scored_text

ROWS = [{"prompt": f"The number {i} is", "target": "even" if i % 2 else "odd"} for i in range(20)]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    import pandas as pd

    table = pd.DataFrame(ROWS)
    table.to_csv(tmp_path / "rows.csv", index=False)
    table.to_parquet(tmp_path / "rows.parquet")
    table.to_json(tmp_path / "rows.jsonl", orient="records", lines=True)
    (tmp_path / "rows.json").write_text(json.dumps(ROWS))
    (tmp_path / "rows.txt").write_text("\n".join(SENTENCES) + "\n\n")
    folder = tmp_path / "folder"
    folder.mkdir()
    table.to_json(folder / "train.jsonl", orient="records", lines=True)
    return tmp_path


@pytest.mark.parametrize("name", ["rows.csv", "rows.parquet", "rows.jsonl", "rows.json", "folder"])
def test_local_files(files: Path, tokenizer, name: str) -> None:  # type: ignore[no-untyped-def]
    data = load_data(str(files / name), tokenizer)
    assert len(data) == 20
    assert scored_text(tokenizer, data.rows[0]).strip() == "odd"
    assert len(load_data(str(files / name), tokenizer, split="train[:25%]")) == 5
    swapped = load_data(
        str(files / name), tokenizer, prompt_column="target", target_column="prompt"
    )
    assert scored_text(tokenizer, swapped.rows[1]).strip() == "The number 1 is"


def test_text_file_and_prompts_file(files: Path, tokenizer) -> None:  # type: ignore[no-untyped-def]
    as_data = load_data(str(files / "rows.txt"), tokenizer)
    as_prompts = load_prompts(files / "rows.txt", tokenizer)
    assert len(as_data) == len(as_prompts) == len(SENTENCES)
    assert as_data.fingerprint == as_prompts.fingerprint


def _configured(folder: Path, rows: list[str]) -> None:
    """A dataset folder whose README declares a configuration."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = "\n".join(json.dumps({"text": text}) for text in rows)
    (folder / "rows.jsonl").write_text(lines + "\n")
    (folder / "README.md").write_text(
        "---\nconfigs:\n- config_name: mine\n  data_files:\n"
        "  - split: train\n    path: rows.jsonl\n---\n"
    )


def _texts(tokenizer, name: str) -> list[str]:  # type: ignore[no-untyped-def]
    data = load_data(name, tokenizer, config="mine")
    return [tokenizer.decode(list(row.ids)) for row in data.rows]


def test_local_data_are_the_files_that_are_there_now(  # type: ignore[no-untyped-def]
    tmp_path: Path, tokenizer, monkeypatch
) -> None:
    big, small = [f"big row {i}" for i in range(3)], [f"small row {i}" for i in range(7)]
    _configured(tmp_path / "one" / "dat", big)
    _configured(tmp_path / "two" / "dat", small)
    assert _texts(tokenizer, str(tmp_path / "one" / "dat")) == big
    assert _texts(tokenizer, str(tmp_path / "two" / "dat")) == small
    monkeypatch.chdir(tmp_path / "two")
    assert _texts(tokenizer, "dat") == small
    _configured(tmp_path / "two" / "dat", big[:2])
    assert _texts(tokenizer, "dat") == big[:2]


def test_a_changed_file_is_read_again(tmp_path: Path, tokenizer) -> None:  # type: ignore[no-untyped-def]
    import os

    path = tmp_path / "rows.jsonl"
    for text in ("one row", "two row"):
        path.write_text(json.dumps({"text": text}) + "\n")
        os.utime(path, ns=(0, 0))
        (row,) = load_data(str(path), tokenizer).rows
        assert tokenizer.decode(list(row.ids)) == text


def test_wikitext_skips_empty_lines(hub: Path, tokenizer, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.chdir(hub)
    data = load_data("wikitext", tokenizer)
    assert len(data) == 45
    assert data.name == "wikitext/wikitext-2-raw-v1:train"
    assert load_data("wikitext", tokenizer, split="auto").name.endswith(":validation")
    assert len(load_data("wikitext", tokenizer, split="train[:8]")) == 6


def test_limit_is_drawn_by_the_seed(files: Path, tokenizer) -> None:  # type: ignore[no-untyped-def]
    name = str(files / "rows.csv")
    drawn = [load_data(name, tokenizer, limit=5, seed=s).fingerprint for s in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(load_data(name, tokenizer, limit=0)) == 20


def held_out_of(  # type: ignore[no-untyped-def]
    config: DataConfig, data: TokenData, tokenizer, rows: int
) -> tuple[TokenData, TokenData]:
    """Rows to fit on and held-out rows, as a verb takes them."""
    opened = open_held_out(config, rows=rows, seed=0)
    return take_held_out(data, opened, tokenizer, rows=rows, seed=0)


def test_held_out_rows(files: Path, hub: Path, tokenizer, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    config = DataConfig(dataset=str(files / "rows.csv"))
    data = load_data(config, tokenizer)
    fit, held_out = held_out_of(config, data, tokenizer, 64)
    assert (len(fit), len(held_out)) == (18, 2)
    assert not set(fit.rows) & set(held_out.rows)
    monkeypatch.chdir(hub)
    config = DataConfig()
    data = load_data(config, tokenizer)
    fit, held_out = held_out_of(config, data, tokenizer, 4)
    assert fit is data
    assert (held_out.name, len(held_out)) == ("wikitext/wikitext-2-raw-v1:validation", 4)


def test_builtin_rows(tokenizer) -> None:  # type: ignore[no-untyped-def]
    assert len(load_data("builtin:icl", tokenizer, split="train[:30]")) == 30
    with pytest.raises(DataError, match="nonsense"):
        load_data("builtin:nonsense", tokenizer)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"text_column": "words"}, "no column 'words'; it has prompt, target"),
        ({"split": "test"}, "split"),
        ({"split": "train[:0]"}, "no data"),
    ],
)
def test_bad_requests(files: Path, tokenizer, settings: dict[str, str], message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(DataError, match=message):
        load_data(str(files / "rows.csv"), tokenizer, **settings)


def test_bad_files(tmp_path: Path, tokenizer) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "empty.txt").write_text("\n \n")
    (tmp_path / "one.txt").write_text("a\n")
    (tmp_path / "broken.jsonl").write_text("{nonsense")
    (tmp_path / "x.xlsx").write_text("")
    for name, message in (
        ("empty.txt", "empty"),
        ("broken.jsonl", "could not be loaded"),
        ("x.xlsx", "ending"),
        ("missing.csv", "does not exist"),
    ):
        with pytest.raises(DataError, match=message):
            load_data(str(tmp_path / name), tokenizer)
    with pytest.raises(DataError, match="nothing to score"):
        load_data(str(tmp_path / "one.txt"), tokenizer)
    with pytest.raises(DataError, match="is empty"):
        load_prompts(tmp_path / "empty.txt", tokenizer)
    os.mkfifo(tmp_path / "pipe.txt")
    for name in ("missing.txt", "pipe.txt"):
        with pytest.raises(DataError, match="cannot be read"):
            load_prompts(tmp_path / name, tokenizer)


ROW = json.dumps({"text": "one two three"}).encode()
NULLS = {
    "first.jsonl": b"null\n",
    "all.jsonl": b"null\nnull\n",
    "later.jsonl": ROW + b"\n null\n",
    "bom.jsonl": b"\xef\xbb\xbfnull\n",
    "whole.json": b"null",
    "glued.json": b"null" + ROW,
    "glued.jsonl": ROW + b"\nNaN" + ROW,
    "nan.jsonl": b"NaN\n" + ROW,
    "list.json": b"[NaN, " + ROW + b"]",
    "null_list.json": b"[null, " + ROW + b"]",
    "lines.json": b"\nnull\n" + ROW,
    "folder/train.jsonl": b"null\n",
}
DAMAGED = {
    "latin.jsonl": (b'{"text": "caf\xe9"}', "bytes that are not UTF-8"),
    "latin.csv": (b"text\ncaf\xe9\n", "codec can't decode"),
    "latin.txt": (b"caf\xe9 au lait\n", "codec can't decode"),
    "overlong.jsonl": (b'{"text": "\xc0\xaf"}', "bytes that are not UTF-8"),
    "empty.json": (b"", "is empty; write a row per line"),
    "empty.jsonl": (b"\n\n", "is empty; write a row per line"),
    "empty.parquet": (b"", "is empty; write a row per line"),
    "no_rows.json": (b"[]", "no data"),
    "no.parquet": (b"PAR1", "could not be loaded"),
    "deep.jsonl": (b'{"text": ' + b"[" * 2000 + b"]" * 2000 + b"}", "recursion"),
    "deep.json": (b"[" * 2000 + b"]" * 2000, "depth"),
    "numbers.jsonl": (b"1\n2\n", "could not be loaded"),
    "mixed.jsonl": (ROW + b"\n[]\n", "could not be loaded"),
    "wide.jsonl": (
        json.dumps({f"column {i}": "a" for i in range(2000)}).encode(),
        "has no column 'text'; it has",
    ),
    "long.jsonl": (json.dumps({"c" * 100_000: "a"}).encode(), "has no column 'text'; it has ccc"),
    "lines.jsonl": (json.dumps({"a\nb": "a"}).encode(), "has no column 'text'; it has a b"),
}


@pytest.mark.parametrize("name", sorted(NULLS))
def test_a_null_row_is_refused_before_the_library_dies_of_it(name: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / name).write_bytes(NULLS[name])
    with pytest.raises(
        DataError, match=r"(line|row) \d is (null|nan|None); write a row with its columns"
    ):
        open_rows(
            DataConfig(dataset=str((tmp_path / name).parent if "/" in name else tmp_path / name)), 0
        )


def test_a_null_inside_of_a_row_is_read(tmp_path: Path) -> None:
    rows = [{"text": "one two three", "tags": [None, None]}, {"text": None, "tags": None}]
    (tmp_path / "rows.json").write_text(json.dumps(rows, indent=0))
    assert open_rows(DataConfig(dataset=str(tmp_path / "rows.json")), 0).columns == {
        "text": ["one two three"]
    }


@pytest.mark.parametrize("name", sorted(DAMAGED))
def test_a_damaged_file_ends_in_one_short_line(
    name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    content, message = DAMAGED[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        open_rows(DataConfig(dataset=str(tmp_path / name)), 0)
    said = str(caught.value)
    assert name in said
    assert len(said) < 1000
    assert len(said.splitlines()) == 1
    assert "Failed" not in capfd.readouterr().err


NAMES = ["[a]", "a*b?", "a$b$c_{", "a b", "n" * 240, "中文", os.fsdecode(b"\xff\xfe")]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_a_name_and_no_pattern(name: str, tmp_path: Path) -> None:
    file, folder, nested = (tmp_path / f"{name}.jsonl", tmp_path / "in" / name, tmp_path / name)
    for path in (file, folder / "train.jsonl", nested / "data" / "train.jsonl"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(ROW)
    for dataset in (file, folder, nested):
        assert open_rows(DataConfig(dataset=str(dataset)), 0).columns == {"text": ["one two three"]}


def test_a_name_that_no_file_can_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        open_rows(DataConfig(dataset=str(tmp_path / ("n" * 300 + ".jsonl"))), 0)
    with pytest.raises(DataError, match="File name too long"):
        open_rows(DataConfig(dataset="n" * 300), 0)


def test_a_column_of_images_is_no_text(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq
    from datasets import Features, Image

    table = pa.table({"text": [{"bytes": b"not a picture", "path": None}]})
    schema = Features({"text": Image()}).arrow_schema
    pq.write_table(table.cast(schema), tmp_path / "rows.parquet")
    with pytest.raises(DataError, match=r"column 'text' of .* holds "):
        open_rows(DataConfig(dataset=str(tmp_path / "rows.parquet")), 0)


def test_a_script_in_a_dataset_folder_is_not_run(tmp_path: Path) -> None:
    folder = tmp_path / "scripted"
    folder.mkdir()
    (folder / "scripted.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    with pytest.raises(DataError, match="scripted"):
        open_rows(DataConfig(dataset=str(folder)), 0)
    assert not (tmp_path / "ran").exists()

"""Model folders of strangers: what is damaged or runs code ends in one line, and nothing runs."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch

import chg
from chg.errors import ModelError
from support.local_hub import make_gpt2


class Malicious:
    """An object that makes a folder when it is unpickled."""

    def __init__(self, place: Path) -> None:
        self.place = str(place)

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (self.place,)


def test_weights_that_run_code_are_not_loaded(tmp_path: Path) -> None:
    make_gpt2(tmp_path / "gpt2")
    (tmp_path / "gpt2" / "model.safetensors").unlink()
    torch.save({"weight": Malicious(tmp_path / "ran")}, tmp_path / "gpt2" / "pytorch_model.bin")
    with pytest.raises(ModelError, match="gpt2 could not be loaded"):
        chg.load_model(str(tmp_path / "gpt2"))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "tokenizer.json"])
@pytest.mark.parametrize("content", [b"", b"[]", b'{"a": null}', b"\xff" * 100, b"[" * 5000])
def test_a_damaged_model_folder_is_refused(file: str, content: bytes, tmp_path: Path) -> None:
    make_gpt2(tmp_path / "gpt2")
    (tmp_path / "gpt2" / file).write_bytes(content)
    with pytest.raises(ModelError, match="gpt2 could not be loaded"):
        chg.load_model(str(tmp_path / "gpt2"))


@pytest.mark.parametrize("name", ["a$b$", "[a]*", "中文", "n" * 240])
def test_a_model_folder_of_any_name_is_loaded(name: str, tmp_path: Path) -> None:
    make_gpt2(tmp_path / name)
    assert chg.load_model(str(tmp_path / name))[0].config.n_head == 4


def test_a_folder_without_a_model_says_so(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"holds no model: no config.json, no GGUF file"):
        chg.load_model(str(tmp_path))


def test_a_model_without_its_tokenizer_says_so(tmp_path: Path) -> None:
    """Some classes of transformers would make one that knows no word."""
    make_gpt2(tmp_path / "gpt2")
    (tmp_path / "gpt2" / "tokenizer.json").unlink()
    with pytest.raises(
        ModelError, match=r"its tokenizer cannot be read; tokenizer.json is missing"
    ):
        chg.load_model(str(tmp_path / "gpt2"))
    for path in (tmp_path / "gpt2").glob("*tok*"):
        path.unlink()
    with pytest.raises(ModelError, match=r"has no tokenizer; tokenizer.save_pretrained"):
        chg.load_model(str(tmp_path / "gpt2"))


def test_weights_of_other_shapes_are_told_of_in_plain_words(tmp_path: Path) -> None:
    make_gpt2(tmp_path / "gpt2")
    path = tmp_path / "gpt2" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "n_embd": 64}))
    with pytest.raises(ModelError, match="have other shapes than its configuration says"):
        chg.load_model(str(tmp_path / "gpt2"))


def test_weights_that_are_missing_are_told_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make_gpt2(tmp_path / "gpt2")
    path = tmp_path / "gpt2" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "n_layer": 3}))
    chg.load_model(str(tmp_path / "gpt2"))
    assert "lacks 12 of the model's tensors, such as transformer.h.2." in caplog.text

"""GGUF files: their weights as they are there, the type that they had, and what is damaged."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch

import chg
from chg.config.model import ModelConfig
from chg.errors import ModelError
from chg.models.describe import describe_model
from chg.models.loading import load_without_weights
from chg.models.weights import weights_difference
from support.adapters import save_adapter
from support.gates import logits
from support.tiny_gguf import make_gguf

gguf = pytest.importorskip("gguf")
TEXT = "The capital of France is Paris, and the river is called the Seine."


@pytest.mark.parametrize(
    ("kind", "quantization"),
    [
        ("Q4_1", "dequantised from Q4_1"),
        ("Q8_0", "dequantised from Q8_0"),
        ("F32", "none"),
    ],
)
def test_a_gguf_file_is_loaded_with_its_tokenizer(
    kind: str, quantization: str, tmp_path: Path
) -> None:
    path = tmp_path / "any name.gguf"
    expected = make_gguf(path, kind)
    model, tokenizer = chg.load_model(str(path))
    ids = tokenizer(TEXT, return_tensors="pt").input_ids
    assert tokenizer.decode(ids[0]).removeprefix("<|endoftext|>") == TEXT  # transformers 4 has it
    assert torch.equal(logits(model, ids), logits(expected, ids))
    described = describe_model(model)
    assert described["model"] == str(path)
    assert described["quantization"] == quantization
    found = chg.inspect_model(model)
    assert found.quantization == quantization
    assert (found.num_layers, found.num_heads, found.num_kv_heads) == (2, (4, 4), (2, 2))
    described = load_without_weights(ModelConfig(model=str(path)))
    assert next(described.parameters()).is_meta
    assert chg.find_head_sites(described).shape == (2, 4)


def test_a_folder_with_a_gguf_file_alone_is_that_file(tmp_path: Path) -> None:
    make_gguf(tmp_path / "folder" / "a.gguf")
    model, _ = chg.load_model(str(tmp_path / "folder"))
    assert describe_model(model)["model"] == str(tmp_path / "folder")
    assert describe_model(model)["quantization"] == "dequantised from Q4_1"
    make_gguf(tmp_path / "folder" / "b.gguf")
    with pytest.raises(ModelError, match=r"several GGUF files \(a\.gguf, b\.gguf\); give one"):
        chg.load_model(str(tmp_path / "folder"))


def test_it_is_an_ordinary_model_that_remembers(tmp_path: Path) -> None:
    make_gguf(tmp_path / "a.gguf")
    model, tokenizer = chg.load_model(str(tmp_path / "a.gguf"))
    assert not hasattr(model, "hf_quantizer")
    assert not hasattr(model.config, "quantization_config")
    assert describe_model(copy.deepcopy(model)) == describe_model(model)
    model.save_pretrained(tmp_path / "saved")
    tokenizer.save_pretrained(tmp_path / "saved")
    again, _ = chg.load_model(str(tmp_path / "saved"))
    assert weights_difference(describe_model(model), describe_model(again)) == ""
    full = describe_model(make_gguf(tmp_path / "full.gguf", "F32"))
    assert "+ dequantised from Q4_1 now" in weights_difference(full, describe_model(again))


def test_the_type_is_read_from_the_weights_where_the_file_says_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(gguf.GGUFWriter, "add_file_type", lambda *_: None)
        make_gguf(tmp_path / "silent.gguf")
        say = gguf.GGUFWriter.add_uint32
        patched.setattr(
            gguf.GGUFWriter,
            "add_file_type",
            lambda writer, _: say(writer, "general.file_type", gguf.LlamaFileType.MOSTLY_F16),
        )
        make_gguf(tmp_path / "wrong.gguf")
    for name in ("silent", "wrong"):
        model, _ = chg.load_model(str(tmp_path / f"{name}.gguf"))
        assert describe_model(model)["quantization"] == "dequantised from Q4_1"


def test_an_adapter_on_a_gguf_file(tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    base = make_gguf(path)
    adapted = save_adapter(base, tmp_path / "adapter", str(path))
    for settings in ({"model": "adapter"}, {"model": "a.gguf", "adapter": "adapter"}):
        named = {key: str(tmp_path / value) for key, value in settings.items()}
        model, tokenizer = chg.load_model(**named)
        ids = tokenizer(TEXT, return_tensors="pt").input_ids
        assert torch.allclose(logits(model, ids), logits(adapted, ids), atol=1e-5)
        described = describe_model(model)
        assert described["model"] == named["model"]
        assert described["quantization"] == "dequantised from Q4_1"
        assert described["adapters"] == ["default"]


def test_a_quantised_file_is_not_quantised_again(tmp_path: Path) -> None:
    make_gguf(tmp_path / "a.gguf")
    with pytest.raises(ModelError, match="quantised already"):
        chg.load_model(str(tmp_path / "a.gguf"), quantize="4bit")


def test_without_the_package_a_line_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_gguf(tmp_path / "a.gguf")
    monkeypatch.setattr("chg.models.gguf.find_spec", lambda _: None)
    with pytest.raises(ModelError, match="pip install gguf"):
        chg.load_model(str(tmp_path / "a.gguf"))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    for name in (str(tmp_path / "a.gguf"), "nowhere.gguf"):
        with pytest.raises(ModelError, match="does not exist"):
            chg.load_model(name)
    (tmp_path / "weights.bin").write_bytes(b"GGUF")
    with pytest.raises(ModelError, match=r"a model is a folder, a \.gguf file or a hub name"):
        chg.load_model(str(tmp_path / "weights.bin"))


@pytest.mark.parametrize("share", [0, 0.0001, 0.01, 0.3, 0.99])
def test_a_file_that_was_cut_off_is_refused(share: float, tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    make_gguf(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ModelError, match=r"no GGUF file, or a damaged one"):
        chg.load_model(str(path))


@pytest.mark.parametrize("content", [b"[]", b"GGUF" + b"\xff" * 100, b"\0" * 1000])
def test_other_content_under_that_name_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_bytes(content)
    with pytest.raises(ModelError, match=r"no GGUF file, or a damaged one"):
        chg.load_model(str(tmp_path / "a.gguf"))


def test_a_file_without_all_weights_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add = gguf.GGUFWriter.add_tensor
    monkeypatch.setattr(
        gguf.GGUFWriter,
        "add_tensor",
        lambda writer, name, *rest, **more: (
            None if "blk.1.attn_q" in name else add(writer, name, *rest, **more)
        ),
    )
    make_gguf(tmp_path / "a.gguf")
    with pytest.raises(ModelError, match=r"lacks 1 of the model's tensors.*layers\.1.*q_proj"):
        chg.load_model(str(tmp_path / "a.gguf"))


def test_an_architecture_that_nobody_knows_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        gguf.GGUFWriter,
        "add_architecture",
        lambda writer: writer.add_string(gguf.Keys.General.ARCHITECTURE, "unheard"),
    )
    make_gguf(tmp_path / "a.gguf")
    with pytest.raises(ModelError, match=r"a\.gguf could not be loaded: .*unheard"):
        chg.load_model(str(tmp_path / "a.gguf"))

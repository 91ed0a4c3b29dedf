"""Gate files: both forms, round trip, and everything that is not one."""

from __future__ import annotations

import contextlib
import json
import pickle
import random
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from chg import HeadGates
from chg.errors import GateFileError, OutputError
from chg.gating.gates import count_gates

FORMS = ["pt", "safetensors"]


@pytest.mark.parametrize("form", FORMS)
def test_round_trip(tmp_path: Path, form: str) -> None:
    gates = HeadGates(
        torch.randn(3, 5), {"model": "gpt2", "lambda_reg": -0.1, "nested": {"a": [1]}}
    )
    loaded = HeadGates.load(gates.save(tmp_path / "sub" / f"gates.{form}"))
    assert torch.equal(loaded.logits, gates.logits)
    assert loaded.metadata == {"format_version": 1, **gates.metadata}
    assert (loaded.num_layers, loaded.num_heads) == (3, 5)
    assert torch.equal(loaded.values, torch.sigmoid(gates.logits))
    assert [p.name for p in (tmp_path / "sub").iterdir()] == [f"gates.{form}"]


def test_the_pt_form_is_a_plain_dict(tmp_path: Path) -> None:
    path = HeadGates(torch.zeros(2, 3), {"seed": 1}).save(tmp_path / "gates.pt")
    content = torch.load(path, weights_only=True)
    assert set(content) == {"logits", "num_layers", "num_heads", "metadata"}
    assert content["logits"].dtype == torch.float32
    assert json.loads(content["metadata"])["seed"] == 1


def test_three_keys_are_enough(tmp_path: Path) -> None:
    path = tmp_path / "old.pt"
    torch.save({"logits": torch.ones(2, 3), "num_layers": 2, "num_heads": 3}, path)
    assert HeadGates.load(path).metadata == {}


class Malicious:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path("pwned"),)


def test_a_malicious_pickle_is_refused_and_not_run(tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.chdir(tmp_path)
    plain, torched = tmp_path / "plain.pt", tmp_path / "torched.pt"
    plain.write_bytes(pickle.dumps(Malicious()))
    torch.save({"logits": Malicious(), "num_layers": 1, "num_heads": 1}, torched)
    for path in (plain, torched):
        with pytest.raises(GateFileError, match="refused"):
            HeadGates.load(path)
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_truncated_file_is_refused(tmp_path: Path, form: str, share: float) -> None:
    path = HeadGates(torch.randn(12, 12)).save(tmp_path / f"gates.{form}")
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(GateFileError):
        HeadGates.load(path)


@pytest.mark.parametrize(
    "content",
    [
        [1, 2],
        {"weights": torch.zeros(2, 2)},
        {"logits": torch.zeros(2, 2), "num_layers": 2, "num_heads": 3},
        {"logits": torch.zeros(4), "num_layers": 2, "num_heads": 2},
        {"logits": torch.full((2, 2), float("nan")), "num_layers": 2, "num_heads": 2},
        {"logits": torch.zeros(2, 2), "num_layers": 2, "num_heads": 2, "metadata": "{"},
        {"logits": torch.zeros(2, 2), "num_layers": 2, "num_heads": 2, "metadata": "[" * 9999},
        {"logits": torch.zeros(2, 2), "num_layers": 2, "num_heads": 2, "metadata": torch.ones(2)},
        {"logits": torch.zeros(2, 2), "num_layers": torch.ones(2) * 2, "num_heads": 2},
        {"logits": torch.zeros(2, 2), "num_layers": torch.tensor(2), "num_heads": 2},
        {"logits": torch.eye(2).to_sparse(), "num_layers": 2, "num_heads": 2},
        {"logits": torch.eye(2).to_sparse_csr(), "num_layers": 2, "num_heads": 2},
        {"logits": torch.zeros(2, 2, device="meta"), "num_layers": 2, "num_heads": 2},
        {"logits": torch.zeros(1, 1).expand(2**20, 2**20), "num_layers": 2**20, "num_heads": 2**20},
        {
            "logits": torch.zeros(2, 2),
            "exists": torch.eye(2, dtype=torch.bool).to_sparse(),
            "num_layers": 2,
            "num_heads": 2,
        },
    ],
)
def test_what_is_not_a_gate_file_is_refused(tmp_path: Path, content: object) -> None:
    path = tmp_path / "x.pt"
    torch.save(content, path)
    with pytest.raises(GateFileError):
        HeadGates.load(path)


@pytest.mark.parametrize("form", FORMS)
def test_bytes_changed_anywhere_are_refused_or_read(tmp_path: Path, form: str) -> None:
    path = HeadGates(torch.randn(3, 4), {"model": "gpt2"}).save(tmp_path / f"gates.{form}")
    whole, generator = path.read_bytes(), random.Random(3)
    for _ in range(150):
        changed = bytearray(whole)
        for place in generator.choices(range(len(whole)), k=3):
            changed[place] = generator.randrange(256)
        path.write_bytes(changed)
        with contextlib.suppress(GateFileError):
            assert HeadGates.load(path).values.shape == (3, 4)


def test_missing_and_unwritable(tmp_path: Path) -> None:
    with pytest.raises(GateFileError, match="does not exist"):
        HeadGates.load(tmp_path / ("n" * 300 + ".pt"))
    with pytest.raises(GateFileError, match="does not exist"):
        HeadGates.load(tmp_path / "nothing.pt")
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(OutputError, match="cannot write"):
        HeadGates(torch.zeros(1, 1)).save(tmp_path / "file" / "gates.pt")


def test_an_interrupted_write_leaves_the_old_file(tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    path = HeadGates(torch.zeros(2, 2)).save(tmp_path / "gates.pt")
    before = path.read_bytes()

    def fail(target: Path, content: bytes) -> None:
        with target.open("wb") as file:
            file.write(content[:100])
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(KeyboardInterrupt):
        HeadGates(torch.ones(2, 2)).save(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["gates.pt"]


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_counts_add_up(values: list[float]) -> None:
    counts = count_gates(torch.tensor(values)[None])
    assert sum(counts) == len(values)
    assert counts.open == sum(v > 0.7 for v in torch.tensor(values).tolist())


def test_thresholded() -> None:
    gates = HeadGates(torch.tensor([[-4.0, 0.0, 0.1]]))
    assert gates.thresholded.tolist() == [[0.0, 1.0, 1.0]]

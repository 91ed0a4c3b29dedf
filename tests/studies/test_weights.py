"""A study knows the weights that it is of: to resume and to validate on others is refused."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from torch import nn

import chg
from chg.errors import ConfigError
from support.rows import ragged_data
from support.tiny_models import make_model

SHORT: dict[str, Any] = {
    "seeds": 1,
    "max_steps": 2,
    "batch_size": 2,
    "check_seeds": 0,
    "show_progress": False,
}


def loaded(name: str = "tiny") -> Any:
    """The same weights every time, under the name of a folder."""
    model = make_model("llama")
    model.config._name_or_path = name
    return model


def with_adapter(model: nn.Module) -> Any:
    """The model under a fresh LoRA adapter, which changes no output yet."""
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(target_modules=["q_proj"], r=2)
    return peft.get_peft_model(model, config).eval()


def test_other_weights_are_refused_in_a_line_and_old_studies_are_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chg.report.folder.save_figures", lambda *_: [])
    data, held_out, out = ragged_data(), ragged_data(3), tmp_path / "run"
    finished = chg.study(loaded(), data, held_out=held_out, out=out, **SHORT)
    described = finished.manifest["model"]
    assert len(described["weights"]) == 16
    assert (described["adapters"], described["quantization"]) == ([], "none")

    def resume(model: Any) -> None:
        chg.study(model, data, held_out=held_out, out=out, resume=True, **SHORT)

    adapted = with_adapter(loaded())
    weights = rf"other weights \({described['weights']} there, \w{{16}} \+ adapter default now\)"
    with pytest.raises(ConfigError, match=weights) as refused:
        resume(adapted)
    assert "\n" not in str(refused.value)
    assert "{" not in str(refused.value)
    with pytest.raises(ConfigError, match=weights):
        chg.validate(adapted, finished, held_out, show_progress=False)
    trained = loaded()
    trained.lm_head.weight.data[0] += 1
    with pytest.raises(ConfigError, match="other weights"):
        resume(trained)

    manifest = json.loads((out / "manifest.json").read_text())
    for key in ("weights", "adapters", "quantization"):
        del manifest["model"][key]
    (out / "manifest.json").write_text(json.dumps(manifest))
    with caplog.at_level(logging.WARNING, "chg"):
        resume(trained)
        chg.validate(trained, chg.Study.load(out), held_out, show_progress=False)
    said = [text for text in caplog.messages if "does not say which weights" in text]
    assert len(said) == 2, "not refused, but said"


def test_the_weights_stand_in_every_result(tmp_path: Path) -> None:
    model, data = loaded(), ragged_data()
    short: dict[str, Any] = {"max_steps": 1, "show_progress": False}
    fit = chg.fit_gates(model, data, **short)
    ablation = chg.ablate_heads(model, data, show_progress=False)
    contrast = chg.fit_contrastive(
        model, data, data, held_out_retain=data, held_out_forget=data, starts=1, **short
    )
    saved = chg.HeadGates.load(fit.gates.save(tmp_path / "gates.pt")).metadata
    for metadata in (saved, ablation.metadata, contrast.gates.metadata):
        assert metadata["weights"] == saved["weights"]
        assert len(metadata["weights"]) == 16
        assert metadata["quantization"] == "none"

"""The published recipe, against a loop written from the paper (appendix 6.2) alone."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from chg import StudyConfig, gated, study
from chg.data.tokens import TokenData
from chg.errors import ConfigError
from chg.results.stages import LogitsOfStudy
from support.rows import ragged_data
from support.tiny_models import make_model

UPDATES = 12
STRENGTH = 0.1


def test_its_settings_are_the_published_ones() -> None:
    config = StudyConfig(recipe="paper")
    published = {
        "seeds": 10,
        "initial_steps": 500,
        "max_steps": 500,
        "batch_size": 64,
        "grad_accum_steps": 1,
        "lambda_reg": 0.1,
        "lambda_scale": "mean",
        "gate_init": "uniform",
        "paper_clip": True,
        "early_stop": False,
    }
    assert asdict(config).items() >= published.items()
    assert 8 * config.lr == pytest.approx(0.1)
    assert 8 * config.lr_pushed == pytest.approx(0.5)


def test_what_is_given_wins_over_the_recipe() -> None:
    config = StudyConfig(recipe="paper", seeds=3, batch_size=8)
    assert (config.seeds, config.batch_size, config.max_steps) == (3, 8, 500)
    assert StudyConfig(**asdict(config)) == config
    assert StudyConfig(recipe="paper", max_steps=None).max_steps is None
    with pytest.raises(ConfigError, match="--recipe must be one of standard, paper"):
        StudyConfig(recipe="papers")  # type: ignore[arg-type]


def test_it_is_the_published_method(tmp_path: Path) -> None:
    model, rows = make_model("llama_grouped"), ragged_data(8)
    settings: dict[str, Any] = {"seeds": 2, "initial_steps": UPDATES, "max_steps": UPDATES}
    held_out, out = ragged_data(4), tmp_path / "run"
    study(
        model, rows, recipe="paper", held_out=held_out, out=out, show_progress=False,
        check_seeds=0, patterns=False, **settings,
    )  # fmt: skip
    found = LogitsOfStudy.load(out / "gates.safetensors").main
    for i, seed in enumerate((42, 43)):
        start = torch.logit(
            torch.rand(found["initial"][i].shape, generator=torch.Generator().manual_seed(seed))
        )
        initial = by_hand(model, rows, start, 0.0, (0.1, 0.01))
        assert torch.allclose(found["initial"][i], initial, atol=1e-3)
        for stage, strength in (("retention", -STRENGTH), ("removal", STRENGTH)):
            pushed = by_hand(model, rows, initial, strength, (0.5, 0.1))
            assert torch.allclose(found[stage][i], pushed, atol=2e-3), stage
            assert (pushed - initial).abs().max() > 1


def by_hand(
    model: nn.Module, rows: TokenData, start: Tensor, strength: float, rates: tuple[float, float]
) -> Tensor:
    """Fit one gate matrix with all rows in every update, as 64 of them would be."""
    logits = start.clone().requires_grad_()
    first, last = rates
    adam = torch.optim.Adam([logits], lr=first)
    for update in range(UPDATES):
        adam.param_groups[0]["lr"] = first + (last - first) * update / (UPDATES - 1)
        adam.zero_grad()
        loss = strength * logits.clamp(-4, 4).mean()
        with gated(model, torch.sigmoid(logits)):
            for row in rows.rows:
                logprobs = model(torch.tensor([row.ids])).logits[0].log_softmax(-1)
                targets = [logprobs[j - 1, row.ids[j]] for j, s in enumerate(row.scored) if s]
                loss = loss - torch.stack(targets).mean() / len(rows)
        loss.backward()
        nn.utils.clip_grad_norm_([logits], 1.0)
        adam.step()
    return logits.detach()

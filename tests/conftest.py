"""Shared fixtures. Shapes in annotations are checked at run time here, and only here."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile

CACHES = tempfile.mkdtemp(prefix="chg-tests-")
"""Caches of these tests alone: what else a machine has loaded must not matter."""
atexit.register(shutil.rmtree, CACHES, ignore_errors=True)
os.environ |= {
    "HF_HOME": CACHES,
    "HF_HUB_CACHE": f"{CACHES}/hub",
    "HF_DATASETS_CACHE": f"{CACHES}/datasets",
    "HF_MODULES_CACHE": f"{CACHES}/modules",
    "MPLCONFIGDIR": f"{CACHES}/matplotlib",
}
os.environ.pop("TRANSFORMERS_CACHE", None)  # transformers 4 would read it before these
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_NUM_THREADS", "1")

from jaxtyping import install_import_hook

CHECKED = [
    "ablation.ablate",
    "ablation.scores",
    "engine.engine",
    "engine.evaluation",
    "engine.target_scores",
    "engine.targets",
    "fitting.losses",
    "fitting.optimizer",
    "gating.check",
    "gating.gate_wrapper",
    "gating.gates",
    "gating.hooks",
    "models.heads",
]
install_import_hook([f"chg.{name}" for name in CHECKED], "beartype.beartype")

from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import PreTrainedTokenizerBase

from support.decoders import TEXT, VISION, build
from support.local_hub import make_hub, make_tokenizer
from support.tiny_models import FAMILIES, compute_in_float64, make_model

torch.set_num_threads(1)


@pytest.fixture(params=sorted(FAMILIES))
def family(request: pytest.FixtureRequest) -> str:
    """Every family of models that is tested by name."""
    return str(request.param)


@pytest.fixture
def model(family: str) -> nn.Module:
    """A small random model of the family, in float64."""
    return compute_in_float64(make_model(family))


@pytest.fixture(params=TEXT + VISION)
def decoder(request: pytest.FixtureRequest) -> nn.Module:
    """A tiny random model of every model type that people use, in float64."""
    return build(request.param)


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> PreTrainedTokenizerBase:
    """A small tokenizer of GPT-2's kind."""
    return make_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="session")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a local `gpt2` and a local `wikitext`."""
    return make_hub(tmp_path_factory.mktemp("hub"))

"""Settings are checked in Python as the command line checks them."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, get_args, get_origin, get_type_hints

import numpy as np
import pytest

import chg
import chg.config as config
from chg.errors import ConfigError

CLASSES = [
    value
    for name, value in vars(config).items()
    if name in config.__all__ and dataclasses.is_dataclass(value) and "Words" not in name
]
CHOICES = [
    (settings, name, hint)
    for settings in CLASSES
    for name, hint in get_type_hints(settings).items()
    if get_origin(hint) is Literal
]


def test_every_class_of_settings_is_checked() -> None:
    assert len(CHOICES) > 10
    for settings in CLASSES:
        first = dataclasses.fields(settings)[0].name
        with pytest.raises(ConfigError, match=f"--{first} must be "):
            settings(**{first: ["a list"]})


@pytest.mark.parametrize(("settings", "name", "hint"), CHOICES)
def test_a_misspelt_choice_is_refused(settings: Any, name: str, hint: Any) -> None:
    choices = get_args(hint)
    for wrong in (f"{choices[-1]}s", choices[0].upper(), "", None, 1, [choices[0]]):
        with pytest.raises(ConfigError, match=rf"--{name} must be one of {choices[0]}\b"):
            settings(**{name: wrong})


@pytest.mark.parametrize(
    ("wrong", "near"), [({"unit": "heads"}, "head"), ({"ablation": "zeros"}, "zero")]
)
def test_the_nearest_choice_is_named(wrong: dict[str, Any], near: str) -> None:
    with pytest.raises(ConfigError, match=rf"\(perhaps you meant {near}\), got '{near}s'"):
        chg.FitConfig(**wrong)


@pytest.mark.parametrize(
    "wrong", [{"epochs": "3"}, {"epochs": 1.5}, {"lr": "0.1"}, {"paper_clip": "no"}, {"lr": None}]
)
def test_a_value_of_another_type_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"must be (a whole number|a number|True or False), got"):
        chg.FitConfig(**wrong)


def test_numbers_of_numpy_and_paths_are_settings_too(tmp_path: Any) -> None:
    assert chg.FitConfig(epochs=np.int64(3), lr=np.float32(0.5), max_steps=None).epochs == 3
    assert config.CheckConfig(run=tmp_path).run == tmp_path

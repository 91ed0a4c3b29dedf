"""Settings of data."""

from __future__ import annotations

import pytest

from chg.config.data import DataConfig
from chg.errors import ConfigError


def test_contradictory_settings() -> None:
    for bad in (
        {"max_length": 1},
        {"limit": -1},
        {"prompt_column": "a"},
        {"text_column": "a", "prompt_column": "b", "target_column": "c"},
    ):
        with pytest.raises(ConfigError):
            DataConfig(**bad)  # type: ignore[arg-type]

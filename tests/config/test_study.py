"""Settings of a study."""

from __future__ import annotations

from typing import Any

import pytest

from chg import StudyConfig
from chg.errors import ConfigError


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lambda_path": "0.1,x"}, "lambda_path"),
        ({"lambda_path": "-0.1"}, "lambda_path"),
        ({"lambda_reg": 0.0}, "lambda_reg"),
        ({"seeds": 0}, "seeds"),
        ({"closed_below": 0.8}, "closed_below"),
        ({"check_seeds": -1}, "check_seeds"),
    ],
)
def test_bad_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        StudyConfig(**settings)

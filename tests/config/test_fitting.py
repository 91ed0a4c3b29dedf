"""Settings of fits and contrasts."""

from __future__ import annotations

import pytest

from chg.config.fitting import ContrastConfig
from chg.errors import ConfigError


@pytest.mark.parametrize(
    "alpha", ["", "a", "1,", "1,,2", "1,-2", "nan", "inf", "1,1.0", "-1", -1.0]
)
def test_rubbish_for_alpha_is_refused(alpha: float | str) -> None:
    with pytest.raises(ConfigError, match=r"--alpha must be a number of 0 or more"):
        ContrastConfig(alpha=alpha)


def test_alphas_are_read_in_every_form() -> None:
    for alpha in ("0.5,2,1", "[0.5, 1, 2]", " 1, 0.5,2 "):
        assert ContrastConfig(alpha=alpha).alphas == (0.5, 1.0, 2.0)
    assert ContrastConfig(alpha=0.5).alphas == (0.5,)

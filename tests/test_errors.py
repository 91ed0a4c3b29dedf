"""Messages: one line each, whatever values a file or a user put into them."""

from __future__ import annotations

import pytest

from chg.errors import LONGEST_MESSAGE, ChgError, DivergedError


@pytest.mark.parametrize(
    "value", ["x" * 100_000, "a b " * 30_000, "9" * 5_000, "/" * 100_000, repr(["col"] * 9_000)]
)
def test_a_long_value_is_cut_and_what_to_do_is_not(value: str) -> None:
    message = str(ChgError(f"--epochs must be a number, got {value!r}; give one, as in 3"))
    assert message.startswith("--epochs must be a number, got ")
    assert message.endswith("; give one, as in 3")
    assert len(message) <= LONGEST_MESSAGE


def test_a_value_is_shown_up_to_80_characters() -> None:
    assert len(str(ChgError(f"{'x' * 81!r}"))) == 80
    assert str(ChgError(f"{'x' * 78!r}")) == f"'{'x' * 78}'"
    path = f"/tmp/{'folder/' * 20}file.pt"
    assert path in str(ChgError(f"{path} doesn't exist; isn't it there?"))


@pytest.mark.parametrize(
    "value", ["a\nb", "a\r\n\tb", "a\x1b[31mb", "a\x00b", "a\ud800b", "\udcff"]
)
def test_a_message_is_one_line_that_a_terminal_can_show(value: str) -> None:
    for error in (ChgError(f"the column {value} is missing"), DivergedError(value)):
        assert len(str(error).splitlines()) == 1
        assert "\x1b" not in str(error)
        str(error).encode()

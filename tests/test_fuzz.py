"""A slice of the campaign of `make fuzz`."""

from __future__ import annotations

import os
from pathlib import Path

from support.fuzz.campaign import run_campaign


def test_no_damaged_file_ends_in_a_traceback(tmp_path: Path) -> None:
    cases, found = run_campaign(tmp_path, float(os.environ.get("FUZZ_MINUTES", "1")))
    assert not found
    assert cases > 20

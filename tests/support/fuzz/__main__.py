"""`python -m support.fuzz FOLDER`: a campaign of `FUZZ_MINUTES`, from where the last one ended."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from support.fuzz.campaign import run_campaign

cases, found = run_campaign(Path(sys.argv[1]), float(os.environ.get("FUZZ_MINUTES", "10")))
sys.stdout.write(f"{cases} cases, {len(found)} findings\n")
for one in found:
    sys.stdout.write(f"{one['kind']} {one['case']}: {one['wrong']}\n")
sys.exit(bool(found))

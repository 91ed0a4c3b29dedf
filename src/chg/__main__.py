"""`python -m chg`."""

from __future__ import annotations

import sys

from chg.cli import main

sys.exit(main())

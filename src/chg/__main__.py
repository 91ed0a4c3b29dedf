"""`python -m chg`."""

import sys

from chg.cli import main

sys.exit(main())

"""The command `chg`, and `python -m chg`."""

from __future__ import annotations

import sys

from chg.interrupts import ignore, interrupted, say_interrupted, watch


def main() -> int:
    """Run the command line; an interrupt is answered from here on, imports included."""
    watch()
    try:
        from chg.cli import main as run

        code = run()
        ignore()
        return code
    except BaseException:
        if not interrupted():
            raise
        ignore()
        return say_interrupted(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())

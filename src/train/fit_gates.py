"""Fit one gate per attention head: the same as `chg fit`, from a clone.

python src/train/fit_gates.py --help
"""

import sys
from pathlib import Path

try:
    from chg.cli import main
except ModuleNotFoundError as error:
    if error.name != "chg":
        raise
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from chg.cli import main

if __name__ == "__main__":
    sys.exit(main(["fit", *sys.argv[1:]]))

"""Fit gates that keep one behaviour and lose another: the same as `chg contrast`, from a clone.

python src/train/contrastive_chg.py --help
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
    sys.exit(main(["contrast", *sys.argv[1:]]))

"""Ablate heads and measure what happens: the same as `chg ablate`, from a clone.

python src/train/eval_ablation.py --help
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
    sys.exit(main(["ablate", *sys.argv[1:]]))

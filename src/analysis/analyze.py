"""Draw and rank the results of an ablation: the same as `chg analyze`, from a clone.

python src/analysis/analyze.py --help
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
    sys.exit(main(["analyze", *sys.argv[1:]]))

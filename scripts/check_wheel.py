"""Prove that a built wheel works without the clone, in one environment per Python.

    python scripts/check_wheel.py dist/*.whl             with this Python; it must pass
    python scripts/check_wheel.py --others dist/*.whl    with every other Python that is found

1. An environment in `.venv-py3.X` takes the wheel's dependencies; it is kept while they stay as
   they are.
2. The wheel is installed into it, and `chg selftest` runs there, from an empty folder.
3. Where an index has torch only with CUDA (several GB), another Python goes without torch: every
   module is compiled, and every verb prints its help. `CHG_LARGE_TORCH=1` takes torch with CUDA.

A Python that is not installed, or whose dependencies cannot be had, is no failure.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import metadata, requires
from itertools import repeat
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
CONSTRAINTS = ROOT / "constraints.txt"
WITHOUT_TORCH = {"numpy", "pyyaml", "tyro"}
"""Dependencies that printing the help of every verb takes."""
STAMP = "dependencies.txt"
"""File in an environment that says what was installed."""
OF_CUDA = ("nvidia-", "cuda-")
"""Beginnings of the names that a large build of torch depends on."""

FROM_THE_WHEEL = "import chg, sys; assert chg.__file__.startswith(sys.prefix), chg.__file__"
COMPILE = "import chg, compileall; assert compileall.compile_dir(chg.__path__[0], quiet=1)"
LIST_VERBS = "from chg.cli.main import VERBS; print(*VERBS)"


class UnavailableError(Exception):
    """A Python, or a package for it, that cannot be had on this machine."""


def main() -> int:
    """Check the wheel with the Pythons asked for and return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--others", action="store_true", help="every Python but this one")
    arguments = parser.parse_args()
    wheel, this = arguments.wheel.resolve(), _minor(sys.version.split()[0])
    if not arguments.others:
        print(f"Python {this}: {check(this, Path(sys.executable), wheel, with_torch=True)}")
        return 0
    pythons = {minor: path for minor, path in find_pythons().items() if minor != this}
    with ThreadPoolExecutor(max_workers=2) as pool:
        codes = pool.map(check_other, pythons, pythons.values(), repeat(wheel))
        return max(codes, default=0)


def find_pythons() -> dict[str, Path | None]:
    """Minor version -> interpreter: those that the package promises, and newer ones found here."""
    classifiers = metadata("chg").get_all("Classifier") or []
    promised = re.findall(r"Python :: (3\.\d+)", "\n".join(classifiers))
    supported = SpecifierSet(metadata("chg")["Requires-Python"])
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    folders = [*map(Path, os.get_exec_path()), *sorted(pyenv.glob("versions/*/bin"))]
    interpreters: dict[str, Path] = {}
    for path in [path for folder in folders for path in folder.glob("python3.*")]:
        if re.fullmatch(r"python3\.\d+", path.name):
            version = _version(path)
            if version and supported.contains(version, prereleases=True):
                interpreters.setdefault(_minor(version), path)
    minors = sorted({*promised, *interpreters}, key=Version)
    return {minor: interpreters.get(minor) for minor in minors}


def _version(python: Path) -> str | None:
    """Version of an interpreter that runs and can make environments."""
    code = "import ensurepip, venv, platform; print(platform.python_version())"
    result = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    return result.stdout.strip() if result.returncode == 0 else None


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])


def check_other(minor: str, python: Path | None, wheel: Path) -> int:
    """Check the wheel with a Python that may lack something; print a line, return 1 if it fails."""
    failed = False
    try:
        if python is None:
            raise UnavailableError("not installed here")
        line = check(minor, python, wheel, with_torch=takes_torch(minor, python))
    except UnavailableError as error:
        line = f"not tested: {error}"
    except subprocess.CalledProcessError as error:
        failed, line = True, f"FAILED: {error}\n{error.stdout}{error.stderr}"
    print(f"Python {minor}: {line}", flush=True)
    return int(failed)


def takes_torch(minor: str, python: Path) -> bool:
    """Decide on torch, once per environment: a small build, or any where it is asked for."""
    if os.environ.get("CHG_LARGE_TORCH"):
        return True
    return not stands(_environment(minor), with_torch=False) and not has_large_torch(python)


def has_large_torch(python: Path) -> bool:
    """Ask pip whether the torch that it would install depends on packages of CUDA."""
    report = json.loads(
        _pip(python, "--dry-run", "--ignore-installed", "--no-deps", "--report", "-", "torch")
    )
    (torch,) = report["install"]
    requirements = map(Requirement, torch["metadata"].get("requires_dist", []))
    return any(
        each.name.startswith(OF_CUDA) and (each.marker is None or each.marker.evaluate())
        for each in requirements
    )


def check(minor: str, python: Path, wheel: Path, *, with_torch: bool) -> str:
    """Install the wheel into its environment, run it there, and return what was tested."""
    environment = _environment(minor)
    if not stands(environment, with_torch=with_torch):
        make_environment(environment, python, with_torch=with_torch)
    inside = environment / "bin" / "python"
    _pip(inside, "--force-reinstall", "--no-deps", str(wheel))
    _run(inside, "-c", FROM_THE_WHEEL)
    if with_torch:
        _run(inside, "-m", "pip", "check")
        return _run(environment / "bin" / "chg", "selftest").splitlines()[-1]
    _run(inside, "-c", COMPILE)
    verbs = _run(inside, "-c", LIST_VERBS).split()
    for verb in verbs:
        _run(environment / "bin" / "chg", verb, "--help")
    return (
        f"import, and the help of {len(verbs)} verbs; no selftest, since torch comes with CUDA "
        "(several GB) here: CHG_LARGE_TORCH=1 takes it"
    )


def _environment(minor: str) -> Path:
    return ROOT / f".venv-py{minor}"


def stands(environment: Path, *, with_torch: bool) -> bool:
    """Look whether an environment is there, with the dependencies that the package has now."""
    stamp = environment / STAMP
    return stamp.is_file() and stamp.read_text() == _described(with_torch=with_torch)


def _described(*, with_torch: bool) -> str:
    return "\n".join([*dependencies(with_torch=with_torch), CONSTRAINTS.read_text()])


def dependencies(*, with_torch: bool) -> list[str]:
    """Requirements of the package, or of its help alone."""
    return [
        line
        for line in requires("chg") or []
        if "extra ==" not in line and (with_torch or Requirement(line).name in WITHOUT_TORCH)
    ]


def make_environment(environment: Path, python: Path, *, with_torch: bool) -> None:
    """Make an environment afresh and install the dependencies, torch before what needs it."""
    _run(python, "-m", "venv", "--clear", str(environment))
    inside = environment / "bin" / "python"
    if with_torch:
        _pip(inside, "torch")
    _pip(inside, *dependencies(with_torch=with_torch))
    (environment / STAMP).write_text(_described(with_torch=with_torch))


def _pip(python: Path, *arguments: str) -> str:
    """Output of `pip install`; whatever cannot be had is unavailable."""
    options = ("--quiet", "--disable-pip-version-check", "--no-compile", "-c", str(CONSTRAINTS))
    try:
        return _run(python, "-m", "pip", "install", *options, *arguments)
    except subprocess.CalledProcessError as error:
        errors = [line for line in error.stderr.splitlines() if line.startswith("ERROR")]
        raise UnavailableError(errors[0] if errors else error.stderr.strip()) from error


def _run(program: Path, *arguments: str) -> str:
    """Output of a program that runs in an empty folder and knows nothing of the clone."""
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    with tempfile.TemporaryDirectory() as folder:
        return subprocess.run(
            [program, *arguments],
            cwd=folder,
            env={**clean, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout


if __name__ == "__main__":
    sys.exit(main())

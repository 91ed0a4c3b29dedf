"""The package itself: what it exports, what it ships, and which way its modules depend."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import zipfile
from pathlib import Path

from packaging.version import Version

import chg
from support.repository import ROOT


def test_every_public_name_resolves() -> None:
    assert sorted(chg.__all__) == chg.__all__
    for name in chg.__all__:
        assert getattr(chg, name).__doc__


def test_import_is_light() -> None:
    code = "import sys, chg; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_wheel_holds_the_package_alone(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--no-deps", "-q", "-w", str(tmp_path), str(ROOT)],
        check=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"chg"}
    assert {"chg/py.typed", "chg/builtin/tiny/model.safetensors"} <= set(names)
    assert {f"chg/report/template/page.{ending}" for ending in ("html", "css")} <= set(names)
    assert any(name.endswith("entry_points.txt") for name in names)


def test_the_oldest_transformers_that_is_promised_is_the_one_tested() -> None:
    promised = re.search(r'"transformers>=([\d.]+),', (ROOT / "pyproject.toml").read_text())
    tested = re.search(r"transformers==([\d.]+)", (ROOT / "constraints-oldest.txt").read_text())
    assert promised is not None
    assert tested is not None
    assert Version(promised[1]) == Version(tested[1])


def test_modules_stay_readable() -> None:
    source = ROOT / "src"
    for file in (*source.rglob("*.py"), *(source / "chg" / "report" / "template").iterdir()):
        assert len(file.read_text().splitlines()) <= 400, file


def test_no_test_file_imports_another() -> None:
    """What tests share is in tests/support, which imports nothing but itself and what is tested."""
    tests = ROOT / "tests"
    support = {f"support.{file.stem}" for file in (tests / "support").glob("[!_]*.py")}
    ours = {path.relative_to(tests).parts[0].removesuffix(".py") for path in tests.rglob("*.py")}
    for file in tests.rglob("*.py"):
        modules = []
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                modules += [name.name for name in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert not node.level, f"{file}: a relative import"
                modules.append(node.module or "")
        local = {name for name in modules if name.split(".")[0] in {*ours, "tests"}}
        assert local <= support, f"{file} imports {sorted(local - support)}"
        assert not [name for name in modules if name.split(".")[-1].startswith("test_")], file

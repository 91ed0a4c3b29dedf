"""The package itself: what it exports, what it ships, and which way its modules depend."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path

from packaging.version import Version

import chg

ROOT = Path(__file__).resolve().parents[1]


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


def test_the_commit_of_a_result_is_that_of_the_whole_package() -> None:
    from chg.results import provenance

    assert Path(chg.__file__).parent == provenance.PACKAGE


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

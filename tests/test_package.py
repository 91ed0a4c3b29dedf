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

ROOT = Path(__file__).resolve().parents[1]
ORDER = [
    {"errors"},
    {"activations", "config", "eager", "files", "foreign", "layouts", "progress"},
    {"architectures", "gates", "builtin"},
    {"projections"},
    {"branches", "gate_wrapper", "precision", "loading", "provenance", "taxonomy"}
    | {"results", "contrast_results"},
    {"data"},
    {"references"},
    {"partial_forward"},
    {"objectives"},
    {"engine"},
    {"ability"},
    {"evaluation", "inspection", "memory", "optimiser"},
    {"estimate", "contrast_figures"},
    {"fitting", "ablation", "contrastive"},
    {"causal_check", "statistics"},
    {"study_folder"},
    {"stages", "held_out"},
    {"study_table"},
    {"studies"},
    {"validation"},
    {"report", "tracking"},
    {"pipeline"},
    {"selftest"},
    {"cli"},
]
"""Modules from left to right; each imports only from its left, or from its own package."""
SHOWN_BY = {("studies", "report")}
"""A study shows itself: its methods load the pictures when they are called."""


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


def test_modules_import_only_from_their_left() -> None:
    level = {name: i for i, names in enumerate(ORDER) for name in names}
    package = ROOT / "src" / "chg"
    for file in package.rglob("*.py"):
        parts = file.relative_to(package).with_suffix("").parts
        own = parts[0]
        if own in ("__init__", "__main__"):
            continue
        assert own in level, f"{own} has no place in the order"
        for imported in _imports(file):
            if imported != own and (own, imported) not in SHOWN_BY:
                assert level[imported] < level[own], f"{own} imports {imported}"


def _imports(file: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("chg."):
            found.add((node.module or "").split(".")[1])
    return found


def test_modules_stay_readable() -> None:
    source = ROOT / "src"
    for file in (*source.rglob("*.py"), *(source / "chg" / "report" / "template").iterdir()):
        assert len(file.read_text().splitlines()) <= 400, file

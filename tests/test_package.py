"""The package itself: what it exports, what it ships, and the rules that its source keeps."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from packaging.version import Version

import chg
from chg.cli.main import VERBS, main
from support.repository import ROOT

PACKAGE = ROOT / "src" / "chg"
MODULES = sorted(PACKAGE.rglob("*.py"))
PACKAGES = sorted(file.parent for file in PACKAGE.glob("*/__init__.py"))
MOST_LINES, MOST_PARAMETERS = 40, 5
LARGEST_FILE = 500_000
Function = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def syntax(file: Path) -> ast.Module:
    return ast.parse(file.read_text())


def git(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run git in the checkout; skip the test where there is none."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    return subprocess.run(
        ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_every_public_name_resolves() -> None:
    assert sorted(chg.__all__) == chg.__all__
    for name in chg.__all__:
        assert getattr(chg, name).__doc__


def test_import_is_light() -> None:
    code = "import sys, chg; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"{chg.__version__}\n"


@pytest.mark.parametrize("verb", VERBS)
def test_help_is_light(verb: str) -> None:
    code = (
        "import sys, chg.cli\n"
        "try:\n"
        f"    chg.cli.main(['{verb}', '--help'])\n"
        "finally:\n"
        "    loaded = 'torch' in sys.modules\n"
        "    print('torch loaded:', loaded)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert "--help" in result.stdout
    assert result.stdout.endswith("torch loaded: False\n")


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """The wheel that `make package` built, or one built here if the source is newer."""
    sources = [*PACKAGE.rglob("*"), ROOT / "pyproject.toml", ROOT / "README.md"]
    newest = max(file.stat().st_mtime for file in sources if "__pycache__" not in file.parts)
    for built in (ROOT / "dist").glob("*.whl"):
        if built.stat().st_mtime > newest:
            return built
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "-q", "-w", tmp_path, ROOT]
    subprocess.run(command, check=True)
    (built,) = tmp_path.glob("*.whl")
    return built


def test_the_wheel_holds_the_package_alone(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    files = {name for name in names if ".dist-info" not in name}
    source = (file for file in PACKAGE.rglob("*") if "__pycache__" not in file.parts)
    assert files == {str(file.relative_to(ROOT / "src")) for file in source if file.is_file()}
    assert any(name.endswith("entry_points.txt") for name in names)
    assert f"chg-{chg.__version__}.dist-info/METADATA" in names


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


def test_no_test_file_imports_another() -> None:
    """What tests share is in tests/support, which imports nothing but itself and what is tested."""
    tests = ROOT / "tests"
    shared = (file.relative_to(tests) for file in (tests / "support").rglob("[!_]*.py"))
    support = {".".join(file.with_suffix("").parts) for file in shared}
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


def test_tracked_files_are_small() -> None:
    tracked = git("ls-files", "-z").stdout.split("\0")
    large = [
        name
        for name in tracked
        if not name.startswith(("src/chg/builtin/", "docs/images/"))
        and (ROOT / name).is_file()
        and (ROOT / name).stat().st_size > LARGEST_FILE
    ]
    assert "pyproject.toml" in tracked
    assert not large


def imported_modules(tree: ast.Module) -> Iterator[str]:
    """Full names of the modules that a module imports from, wherever in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield node.module or ""
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def test_packages_are_imported_by_their_surface_alone() -> None:
    names = {package.name for package in PACKAGES}
    inside = [
        f"{file.relative_to(PACKAGE)}: {module}"
        for file in MODULES
        for module in imported_modules(syntax(file))
        if re.match(r"chg\.\w+\.", module)
        and module.split(".")[1] in names - {file.relative_to(PACKAGE).parts[0]}
    ]
    assert not inside


def test_no_module_bears_a_public_name() -> None:
    """Importing it would replace the function in `chg`."""
    beside = {file.stem for file in PACKAGE.glob("*.py")} | {folder.name for folder in PACKAGES}
    assert not beside & set(chg.__all__)


def test_the_package_has_few_rooms() -> None:
    modules = list(PACKAGE.glob("*.py"))
    folders = [path for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"]
    assert sorted(folders) == PACKAGES
    assert len(folders) <= 15
    assert len(modules) <= 6


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_a_package_states_its_surface_and_nothing_else(package: Path) -> None:
    docstring, *imports, surface = syntax(package / "__init__.py").body
    assert isinstance(docstring, ast.Expr)
    assert isinstance(surface, ast.Assign)
    assert ast.unparse(surface.targets[0]) == "__all__"
    assert all(isinstance(statement, ast.ImportFrom) for statement in imports)
    names = [alias.name for statement in imports for alias in statement.names]  # type: ignore[attr-defined]
    assert sorted(ast.literal_eval(surface.value)) == sorted(names)


def functions(tree: ast.Module) -> Iterator[tuple[Function, bool]]:
    """Every function, and whether it stands at the top of its module."""
    for node in ast.walk(tree):
        if isinstance(node, Function):
            yield node, node in tree.body


def number_of_parameters(function: Function) -> int:
    """Parameters of a function, `self` and `cls` not counted, `*args` and `**kwargs` one each."""
    its = function.args
    listed = [*its.posonlyargs, *its.args, *its.kwonlyargs, its.vararg, its.kwarg]
    return sum(each is not None and each.arg not in ("self", "cls") for each in listed)


def test_functions_stay_small() -> None:
    """But for the public verbs, whose parameters are for people, each with a default and a line."""
    large = []
    for file in MODULES:
        for function, at_top in functions(syntax(file)):
            lines = (function.end_lineno or 0) - function.lineno + 1
            parameters = number_of_parameters(function)
            public = at_top and function.name in chg.__all__
            if not public and (lines > MOST_LINES or parameters > MOST_PARAMETERS):
                place = f"{file.relative_to(PACKAGE)}:{function.lineno}"
                large.append(f"{place} {function.name}: {lines} lines, {parameters} parameters")
    assert not large, "\n".join(large)


def test_docstrings_open_with_a_noun_or_a_verb() -> None:
    questions = []
    for file in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(syntax(file)):
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                text = str(node.value.value).strip()
                if re.match(r"(What|Whether|Where|Which|How)\b", text):
                    place = f"{file.relative_to(ROOT)}:{node.lineno}"
                    questions.append(f"{place} {text.splitlines()[0]}")
    assert not questions, "\n".join(questions)


def test_no_file_refers_to_a_document_that_is_not_here() -> None:
    references = git("grep", "-nE", r"METHOD\.md")
    assert references.returncode == 1, references.stdout

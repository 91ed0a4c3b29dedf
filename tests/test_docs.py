"""The documents: links lead somewhere, names exist, commands parse, and the tutorial runs.

`make docs` builds the site itself, strictly.
"""

from __future__ import annotations

import importlib
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

import chg
from chg.cli.main import VERBS, main
from chg.cli.parsing import flat_settings, parse_command

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted((ROOT / "docs").rglob("*.md"))
DOCUMENTS = [
    *(ROOT / f"{name}.md" for name in ("README", "CONTRIBUTING", "SECURITY", "CHANGELOG")),
    *PAGES,
]
each_document = pytest.mark.parametrize(
    "document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT))
)


def prose(document: Path) -> str:
    """A document without its blocks of code."""
    return re.sub(r"^```.*?^```", "", document.read_text(encoding="utf-8"), flags=re.S | re.M)


def blocks(document: Path, language: str) -> list[str]:
    """The blocks of code of one language."""
    text = document.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.S | re.M)


def anchors(document: Path) -> set[str]:
    """Anchors of the headings, as both the site and the repository's viewer make them."""
    headings = re.findall(r"^#+ (.+)$", prose(document), re.M)
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings
    }


def commands(document: Path) -> list[list[str]]:
    """Words of every `chg VERB ...` in the blocks for a shell, without `chg` and comments."""
    lines = "\n".join(blocks(document, "bash")).replace("\\\n", " ").splitlines()
    split = [shlex.split(line, comments=True) for line in lines if line.startswith("chg ")]
    return [words[1:-1] if words[-1] == "&" else words[1:] for words in split]


def known_flags(verb: str) -> set[str]:
    """Flags of a verb, as they are written in documents."""
    settings = flat_settings(importlib.import_module(f"chg.cli.{verb}").Command())
    names = {"help", "config", "tyro_print_completion", *settings}
    return {f"--{name}" for name in names} | {f"--no_{name}" for name in settings}


def test_the_front_page_is_short() -> None:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 150
    assert [line for line in lines if len(line) > 120] == []


@each_document
def test_links_lead_somewhere(document: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", prose(document))
    for link in links:
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        assert target.exists(), link
        if document in PAGES:
            assert ROOT / "docs" in target.parents, f"{link} leaves the site"
        if anchor:
            assert anchor in anchors(target), link


@each_document
def test_names_of_the_package_exist(document: Path) -> None:
    """Dotted names below `chg`, and modules by their file's name."""
    text = document.read_text(encoding="utf-8")
    for dotted in re.findall(r"(?<![\w./-])chg((?:\.[A-Za-z_]\w*)+)", text):
        if dotted not in (".egg", ".bash"):
            resolve(dotted.lstrip(".").split("."))
    tracked = [f"/{path}" for path in source_files()]
    for file in re.findall(r"`([\w/]+\.py)`", text):
        written_here = any(
            f"`{file}`" in line and "Save this" in line for line in text.splitlines()
        )
        assert written_here or any(path.endswith(f"/{file}") for path in tracked), file


def resolve(names: list[str]) -> Any:
    """The object of a dotted name below `chg`; fails where there is none."""
    target: Any = chg
    path = "chg"
    for name in names:
        path = f"{path}.{name}"
        target = getattr(target, name, None) or importlib.import_module(path)
    return target


def source_files() -> list[str]:
    """Python files of the repository, relative to its root."""
    folders = ("src", "tests", "scripts", "benchmarks")
    return [
        str(path.relative_to(ROOT)) for folder in folders for path in (ROOT / folder).rglob("*.py")
    ]


@each_document
def test_commands_parse(document: Path, tmp_path: Path) -> None:
    """Flags and values are those of the verb; a settings file is the one that the page shows."""
    settings = tmp_path / "settings.yaml"
    settings.write_text("\n".join(blocks(document, "yaml")), encoding="utf-8")
    for verb, *rest in commands(document):
        if verb == "VERB" or "--tyro-print-completion" in (verb, *rest):
            continue
        module = importlib.import_module(f"chg.cli.{verb}")
        if rest and not rest[0].startswith("-"):
            rest = [f"--{module.POSITIONAL}", *rest]
        if "--config" in rest:
            rest[rest.index("--config") + 1] = str(settings)
        parse_command(module.Command, rest, verb, module.EXAMPLES)


@each_document
def test_flags_exist(document: Path) -> None:
    """Those of a command between backticks are its verb's, all others a verb's or a benchmark's."""
    text = prose(document)
    benchmarks = "".join(path.read_text() for path in (ROOT / "benchmarks").glob("*.py"))
    for verb, rest in re.findall(r"`chg ([a-z]+)([^`]*)`", text):
        if verb != "help":
            flags = {flag.replace("-", "_") for flag in re.findall(r"--([\w-]+)", rest)}
            assert {f"--{flag}" for flag in flags} <= known_flags(verb), rest
    alone = set(re.findall(r"`(--[a-z]\w+)", text))
    measured_with = set(re.findall(r'"(--[a-z]+)"', benchmarks))
    assert alone <= measured_with.union({"--version"}, *map(known_flags, VERBS))


def test_public_names_stand_on_reference_pages() -> None:
    pages = (ROOT / "docs" / "reference").glob("*.md")
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    entries = dict(re.findall(r"^::: (\S+)\n    options:\n      heading: chg\.(\w+)$", text, re.M))
    assert sorted(entries.values()) == chg.__all__
    for path, name in entries.items():
        assert resolve(path.split(".")[1:]) is getattr(chg, name)


def test_documented_verbs_are_those_that_there_are() -> None:
    text = (ROOT / "docs" / "how-to" / "command-line.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `chg (\w+)`", text, re.M) == list(VERBS)


def test_the_site_needs_no_network() -> None:
    site = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    assert site["theme"]["font"] is False
    assert not {"extra_css", "extra_javascript"} & set(site)
    plugins = {
        name for entry in site["plugins"] for name in ([entry] if isinstance(entry, str) else entry)
    }
    assert plugins == {"search", "mkdocstrings"}
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        assert not re.search(r"!\[[^\]]*\]\(http|^```mermaid", text, re.M), page


def test_the_badge_opens_the_notebook_where_the_repository_has_an_address() -> None:
    """Without an address in `project.urls` it opens Colab itself, to upload the notebook."""
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    source = re.search(r'^Source = "https://github\.com/([^"]+?)/?"$', project, re.M)
    where = f"github/{source[1]}/blob/main/notebooks/quick_demo.ipynb" if source else ""
    badge = f"(https://colab.research.google.com/{where})"
    notebook = json.loads((ROOT / "notebooks" / "quick_demo.ipynb").read_text(encoding="utf-8"))
    first = "".join(notebook["cells"][0]["source"])
    assert badge in first
    assert badge in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_tutorial_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its Python and its study, with fewer updates; what does not hang on them is as it says."""
    page = ROOT / "docs" / "first-study.md"
    monkeypatch.chdir(tmp_path)
    write_rows, ask_model, use_gates = blocks(page, "python")
    (command,) = (
        words for words in commands(page) if words[:1] == ["study"] and "--seeds" in words
    )
    shown = blocks(page, "text")

    monkeypatch.setattr("chg.report.folder.save_figures", lambda *_: [])
    exec(write_rows, {})
    rows = (tmp_path / "french.jsonl").read_text(encoding="utf-8").splitlines()
    assert rows[:2] == shown[0].splitlines()
    exec(ask_model, {})
    assert shown[1] in capsys.readouterr().out
    short = ["--max_steps", "2", "--eval_rows", "8"]
    short += ["--check_seeds", "1", "--check_points", "1", "--quiet"]
    assert main([*command, *short]) == 0
    exec(use_gates, {})
    assert shown[3].splitlines()[-2:] == capsys.readouterr().out.splitlines()[-2:]
    assert (tmp_path / "roles.pdf").is_file()

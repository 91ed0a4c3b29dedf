"""Output of every verb: its settings, and tables on the terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from chg.errors import ConfigError

LONGEST_LINE = 100


@dataclass(frozen=True)
class Output:
    """Output settings of every verb, which add where their files go."""

    quiet: bool = False
    """No progress bar and no log, only results, warnings and errors."""
    config: str | None = None
    """YAML file of settings by flag name; flags override it."""


def require_gate_file_name(path: str) -> None:
    """Refuse an output name that is neither gate file form.

    Raises:
        ConfigError: the ending is neither .pt nor .safetensors.
    """
    if not path.endswith((".pt", ".safetensors")):
        raise ConfigError(f"--out {path} must end in .pt or .safetensors")


def print_table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *, text: int = 1
) -> None:
    """Print a small table; so many columns from the left are text, the others are figures."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    table = Table()
    for i, column in enumerate(columns):
        # Folded, for what is cut ends in a letter that not every terminal has.
        table.add_column(column, justify="left" if i < text else "right", overflow="fold")
    for row in rows:
        shown = (cell.encode(console.encoding, "replace").decode(console.encoding) for cell in row)
        table.add_row(*map(escape, shown))
    console.print(title, style="bold", highlight=False)
    console.print(table)


def say(text: str) -> None:
    """Print a line of result to stdout."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def say_items(sentences: Iterable[str]) -> None:
    """Print sentences to stdout, a paragraph each, as wide as the terminal or `LONGEST_LINE`."""
    from shutil import get_terminal_size
    from textwrap import fill

    width = min(get_terminal_size().columns, LONGEST_LINE)
    for sentence in sentences:
        say(fill(sentence, width, initial_indent="- ", subsequent_indent="  "))


def format_number(value: float | None, digits: int = 4) -> str:
    """A number for a table; a dash where there is none."""
    return "-" if value is None else f"{value:.{digits}f}"

"""Settings of a comparison of studies."""

from __future__ import annotations

from dataclasses import dataclass

from chg.config.choices import Settings


@dataclass(frozen=True)
class CompareConfig(Settings):
    """The runs that are compared, and the folder for what is found."""

    runs: tuple[str, ...] = ()
    """Folders of two finished studies or more, of models of one shape."""
    out: str = "runs/comparison"
    """Folder for compare.html, heads.csv, comparison.json and the role maps; an existing one is
    never overwritten."""
    names: tuple[str, ...] = ()
    """Short names of the runs, in their order; the names of their folders if not given."""

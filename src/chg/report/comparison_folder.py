"""Files of a comparison."""

from __future__ import annotations

from pathlib import Path

from chg.files import atomic_path
from chg.results import COMPARISON, ComparisonResults


def save_comparison(comparison: ComparisonResults, folder: Path) -> None:
    """Write `compare.html`, `heads.csv`, `comparison.json`, `roles.png` and `roles.pdf`.

    Raises:
        OutputError: the folder cannot be written.
    """
    from chg.report.canvas import save
    from chg.report.comparison_figures import plot_role_maps
    from chg.report.comparison_page import render_comparison

    with atomic_path(folder / "heads.csv") as path:
        comparison.heads.to_csv(path, index=False, float_format="%.6g", lineterminator="\n")
    figure = plot_role_maps(comparison)
    for ending in ("png", "pdf"):
        with atomic_path(folder / f"roles.{ending}") as path:
            save(figure, path)
    comparison.save(folder / COMPARISON)
    with atomic_path(folder / "compare.html") as path:
        path.write_text(render_comparison(comparison), encoding="utf-8")

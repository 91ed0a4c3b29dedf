"""Folders of pictures and tables: of an analysis and of a study."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from chg.config import AnalysisConfig
from chg.files import atomic_path, ensure_folder
from chg.report.analysis import Analysis, read_analysis
from chg.report.page import save_page
from chg.report.page_data import heads_csv
from chg.report.tables import name_mlps
from chg.results import ContrastRun, StudyResults


def save_study(study: StudyResults, folder: Path) -> None:
    """Write the files of a study that are for people: `heads.csv`, `report.html` and `figures/`.

    Raises:
        OutputError: the folder cannot be written.
    """
    with atomic_path(folder / "heads.csv") as path:
        path.write_text(heads_csv(study), encoding="utf-8")
    save_page(study, folder / "report.html")
    save_figures(study, folder / "figures")


def save_figures(
    study: StudyResults, folder: str | Path, only: Collection[str] | None = None
) -> list[Path]:
    """Write a PNG and a PDF of every figure the study has, or of those in `only`.

    Returns:
        The paths of the files.

    Raises:
        OutputError: the folder cannot be written.
    """
    from chg.report.canvas import save
    from chg.report.study_figures import FIGURES

    folder = ensure_folder(folder)
    absent = {
        "checks": not study.checks,
        "faithfulness": study.faithfulness is None or not study.faithfulness.defined,
        "path": study.path is None,
        "agreement": len(study.seeds) < 2,
        "curves": study.metrics.empty,
    }
    written = []
    for name, draw in FIGURES.items():
        if absent.get(name) or (only is not None and name not in only):
            continue
        figure = draw(study)
        for ending in ("png", "pdf"):
            with atomic_path(folder / f"{name}.{ending}") as path:
                save(figure, path)
            written.append(folder / f"{name}.{ending}")
    return written


def save_tradeoff(runs: Sequence[ContrastRun], path: Path) -> None:
    """Draw what contrastive fits retain against what they forget.

    Raises:
        OutputError: `path` cannot be written.
    """
    from chg.report.canvas import save
    from chg.report.tradeoff import tradeoff

    with atomic_path(path) as temporary:
        save(tradeoff(runs), temporary)


def analyze(config: AnalysisConfig | None = None, **settings: Any) -> Analysis:
    """Draw and rank the results of an ablation, into `output_dir`.

    Args:
        config: all settings; or give single ones as keywords, `results="ablation.json"`.
        settings: fields of `AnalysisConfig`.

    Returns:
        The content of the files that were written.

    Raises:
        ResultsError, GateFileError: an input cannot be read.
        GateError: the inputs belong to models of different shape.
        OutputError: the folder cannot be written.
    """
    from chg.report import analysis_figures as figures
    from chg.report import canvas, summary

    config = config or AnalysisConfig(**settings)
    analysis = read_analysis(config)
    folder = ensure_folder(config.output_dir)
    pictures: dict[str, Callable[[Analysis], Any]] = {
        "importance_heatmap.png": figures.importance_heatmap,
        "layer_importance.png": figures.layer_importance,
        "gate_distribution.png": figures.gate_distribution,
    }
    if analysis.taxonomy is not None:
        pictures["role_map.png"] = figures.role_map
    for name, draw in pictures.items():
        with atomic_path(folder / name) as path:
            canvas.save(draw(analysis), path)
    with atomic_path(folder / "head_rankings.csv") as path:
        table = name_mlps(analysis.rankings, analysis.result.unit, analysis.result.shape[1])
        table.to_csv(path, index=False, float_format="%.6g")
    with atomic_path(folder / "summary_report.txt") as path:
        path.write_text(summary.summary_text(analysis, config.top_k), encoding="utf-8")
    return analysis

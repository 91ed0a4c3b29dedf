"""Metrics of a study's fits: a line per update and fit, in an order that no interruption changes.

Lines are appended as updates are done. When fits go on from a checkpoint, or others join them, the
file is arranged anew: no line of an update that is to come, and all by update, then by fit.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from chg.files import atomic_path
from chg.results import STAGES, Stage


def arrange_metrics(path: Path, stages: Collection[Stage], ends: Mapping[int, int]) -> None:
    """Sort the lines, and drop those of some stages that are beyond what their fits hold.

    Args:
        path: `metrics.jsonl`, which may end in half a line; made if it is not there.
        stages: stages whose lines may be dropped.
        ends: seed -> updates of it that are done.
    """
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    lines = [(line, content) for line in text.splitlines() if (content := _parsed(line))]
    kept = sorted(
        (_place(content), line)
        for line, content in lines
        if content["stage"] not in stages or content["step"] <= ends.get(content["seed"], 0)
    )
    with atomic_path(path) as temporary:
        temporary.write_text("".join(f"{line}\n" for _, line in kept), encoding="utf-8")


def _parsed(line: str) -> dict[str, Any] | None:
    try:
        content: dict[str, Any] = json.loads(line)
    except ValueError:  # written as the process was killed
        return None
    return content


def _place(content: Mapping[str, Any]) -> tuple[float, ...]:
    """Place of a line: G0 first, then by update, strength, stage and seed."""
    stage = STAGES.index(content["stage"])
    pushed = min(stage, 1)
    return pushed, content["step"], abs(content["lambda_reg"]), stage, content["seed"]

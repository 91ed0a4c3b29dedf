"""Comparing of studies: what stands in a comparison, computed from their seeds and heads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from chg.config import UNIT_NAMES
from chg.errors import ConfigError
from chg.files import short_name
from chg.results.agreement import overlap_matrix, rank_matrix
from chg.results.compared_runs import RUN_COLUMNS, ComparedRun, RunPair, role_changes
from chg.results.deals import other_deals
from chg.results.head_differences import head_differences, t_p_values
from chg.results.intervals import q_values
from chg.results.likeness import between_runs, chance_of_gap, within_run
from chg.results.roles import in_family
from chg.results.study import StudyResults

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class NamedStudy:
    """A study under the name that it has in a comparison."""

    study: StudyResults
    name: str
    folder: str | None = None
    """Folder that it was read from; None where it was given as an object."""

    @property
    def place(self) -> str:
        """Folder, or else name, for messages."""
        return self.folder or self.name

    @cached_property
    def heads(self) -> pd.DataFrame:
        """Its table, in the order of layers and heads."""
        return self.study.heads.sort_values(["layer", "head"], ignore_index=True)

    def by_head(self, values: NDArray[Any]) -> NDArray[Any]:
        """Take the heads out of `[seed, layer, head]`, as `[seed, head]`."""
        return values[:, self.heads["layer"], self.heads["head"]]

    @cached_property
    def facilitation(self) -> NDArray[np.float64]:
        """Facilitation, `[seed, head]`."""
        return self.by_head(self.study.scores["facilitation"])

    @cached_property
    def facilitating(self) -> NDArray[np.bool_]:
        """True for heads that facilitate, in full or in part, `[seed, head]`."""
        return self.by_head(in_family(self.study.roles, "facilitation"))


def require_one_shape(studies: Sequence[NamedStudy]) -> None:
    """See that studies can be compared head by head.

    Raises:
        ConfigError: they are of models of different shapes.
    """
    first = studies[0]
    for other in studies[1:]:
        if _shape(first) != _shape(other):
            raise ConfigError(
                f"runs of different shapes cannot be compared head by head: {first.place} has "
                f"{_shape(first)}, {other.place} has {_shape(other)}"
            )
        if not first.heads[["layer", "head"]].equals(other.heads[["layer", "head"]]):
            raise ConfigError(
                f"{first.place} and {other.place} have {_shape(first)} both, but not in the same "
                "places, and cannot be compared head by head"
            )


def _shape(one: NamedStudy) -> str:
    layers, heads = one.study.roles.shape[1:]
    return f"{layers} layers x {heads} {UNIT_NAMES[one.study.unit][1]}"


def compare_studies(
    studies: Sequence[NamedStudy],
) -> tuple[tuple[ComparedRun, ...], tuple[RunPair, ...], pd.DataFrame]:
    """Compare studies of one shape (`require_one_shape`).

    Returns:
        The runs, all pairs of them, and the table of heads.
    """
    import pandas as pd

    columns: dict[str, Any] = {name: studies[0].heads[name] for name in ("layer", "head")}
    for one in studies:
        columns |= {f"{name}_{one.name}": one.heads[name] for name in RUN_COLUMNS}
    pairs = []
    for left, right in combinations(studies, 2):
        pair, found = _pair(left, right)
        pairs.append(pair)
        columns |= {pair.column(name): values for name, values in found.items()}
    return tuple(map(_run, studies)), tuple(pairs), pd.DataFrame(columns)


def _run(one: NamedStudy) -> ComparedRun:
    study = one.study
    model, data, held_out, settings = (
        _mapping(study, key) for key in ("model", "data", "held_out", "configuration")
    )
    adapters, mark = model.get("adapters"), held_out.get("fingerprint")
    weights = model.get("weights") or model.get("revision")
    return ComparedRun(
        name=one.name,
        folder=None if one.folder is None else short_name(one.folder),
        title=str(study.manifest.get("title", "study")),
        seeds=study.seeds,
        model=short_name(str(model.get("model") or "unknown")),
        weights=None if weights is None else str(weights),
        adapters=tuple(short_name(str(name)) for name in adapters or ()),
        quantization=str(model.get("quantization") or "none"),
        data=short_name(str(data.get("name") or "unknown")),
        held_out_rows=int(held_out.get("rows") or 0),
        held_out_mark=None if mark is None else str(mark),
        metric=study.metric,
        ablation=settings.get("ablation", "zero"),
        recipe=str(settings.get("recipe", "unknown")),
        updates=f"{settings.get('initial_steps', '?')} and {settings.get('max_steps', '?')}",
        doubts=_doubts(study),
        overlap=within_run(study.agreement.jaccard, study.seeds),
        correlation=within_run(study.agreement.spearman["facilitation"], study.seeds),
    )


def _mapping(study: StudyResults, key: str) -> Mapping[str, Any]:
    value = study.manifest.get(key)
    return value if isinstance(value, Mapping) else {}


def _doubts(study: StudyResults) -> tuple[str, ...]:
    competence, convergence = study.competence, study.convergence
    doubts = []
    if competence is not None and not competence.has_grounds:
        doubts.append(competence.sentence)
    if convergence.moving:
        doubts.append(convergence.sentence)
    return tuple(doubts)


def _pair(left: NamedStudy, right: NamedStudy) -> tuple[RunPair, dict[str, NDArray[Any]]]:
    """Two runs, and what is found of every head between them."""
    scores = [
        (left.by_head(left.study.scores[name]), right.by_head(right.study.scores[name]))
        for name in ("facilitation", "interference")
    ]
    found = head_differences(scores)
    sets = np.concatenate([left.facilitating, right.facilitating])
    values = np.concatenate([left.facilitation, right.facilitation])
    overlap, correlation = overlap_matrix(sets, sets), rank_matrix(values, values)
    seeds, first = (left.study.seeds, right.study.seeds), len(left.study.seeds)
    pair = RunPair(
        left=left.name,
        right=right.name,
        overlap=between_runs(overlap[:first, first:], *seeds),
        correlation=between_runs(correlation[:first, first:], *seeds),
        overlap_p=chance_of_gap(overlap, *seeds),
        correlation_p=chance_of_gap(correlation, *seeds),
        passing=found.passing,
        by_chance=found.by_chance,
        deals=len(other_deals(first, len(seeds[1]))),
    )
    columns: dict[str, NDArray[Any]] = {}
    for name, change, q in zip(
        ("facilitation", "interference"), found.change, found.q, strict=True
    ):
        columns |= {f"{name}_change": change, f"{name}_q": q}
    columns["differs"] = found.differs
    columns["changed"] = role_changes(left.heads["role"], right.heads["role"])
    return pair, columns | _ablation(left, right)


def _ablation(left: NamedStudy, right: NamedStudy) -> dict[str, NDArray[np.float64]]:
    """Change of every head's ablation score with `q`; nothing where they measure different things.

    The errors of both are taken as independent, which they are on different rows. On the same rows
    they go together, as a rule, and the test errs on the careful side.
    """
    one, other = _run_settings(left), _run_settings(right)
    if one[:2] != other[:2] or min(one[2], other[2]) < 2:
        return {}
    change = (right.heads["ablation_score"] - left.heads["ablation_score"]).to_numpy()
    if not np.isfinite(change).any():
        return {}
    errors = left.heads["ablation_stderr"].to_numpy(), right.heads["ablation_stderr"].to_numpy()
    p = t_p_values(change, errors, (one[2], other[2]))
    return {"ablation_change": change, "ablation_q": q_values(p)}


def _run_settings(one: NamedStudy) -> tuple[str, str, int]:
    """Metric and kind of ablation, and the rows that scores are means over."""
    kind = _mapping(one.study, "configuration").get("ablation", "zero")
    return one.study.metric, kind, int(_mapping(one.study, "held_out").get("rows") or 0)

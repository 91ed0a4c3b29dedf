"""References: values that ablated heads and MLPs are replaced by, where these are not zero.

A gate blends a head with its reference, `gate * head + (1 - gate) * reference`:

1. `mean`: the head's mean output over all tokens of a data set, or over those at each position.
2. `resample`: its output in another row, at the same position: a row's counterfactual row
   (`with_partners`), or its corrupted prompt. One plain pass over those rows gives all heads.

Both come from passes with all heads open, and are constants: no gradient goes through them. An MLP
block with a gate has a reference in the same way.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from chg.config import AblationConfig, AblationKind, Metric, OptimizerConfig, Unit
from chg.data import Batch, TokenData, batches, scored_for, with_partners
from chg.errors import ConfigError, DataError, GateError
from chg.gating.rows import require_rows_for
from chg.models import (
    AnyModel,
    HeadSite,
    MlpSite,
    SiteKey,
    find_head_sites,
    frozen,
    input_device,
    plain_torch,
    record_heads,
    uncompiled,
    unwrap_model,
)

ROWS, TOKENS = 16, 4096
"""Rows and tokens of a pass over reference data at most."""


@dataclass(frozen=True)
class Reference:
    """Values that closed gates are filled up with; made by `make_reference`."""

    kind: AblationKind
    means: Mapping[SiteKey, Float[Tensor, "place width"]] = field(default_factory=dict)
    """Layer, or path of an MLP -> means at positions `0, 1, ...`, and in the last row that over all
    positions, which also serves positions that the data did not have."""
    origin: Mapping[str, str] = field(default_factory=dict)
    """Name and fingerprint of its rows, where they are not those that are scored."""
    unit: Unit = "head"
    """Unit that has references: MLP blocks too, with `head_and_mlp`."""

    def __repr__(self) -> str:
        layers = sum(isinstance(key, int) for key in self.means)
        return f"<Reference by {self.kind}, {layers} layers>"

    @property
    def by_row(self) -> bool:
        """True where rows have references of their own, so that rows share nothing."""
        return self.kind == "resample"

    @property
    def everywhere(self) -> dict[SiteKey, Float[Tensor, "1 1 width"]]:
        """The reference of every place for any pass, for `gated` and `attach`.

        Raises:
            GateError: it depends on the row or the position.
        """
        if self.by_row or any(len(table) > 1 for table in self.means.values()):
            raise GateError(
                "a reference by row or position fits no other pass than that over its own batch; "
                "use one mean over all positions"
            )
        return {key: table[None] for key, table in self.means.items()}

    def of(self, model: AnyModel, batch: Batch) -> dict[SiteKey, Float[Tensor, "row place width"]]:
        """The reference of every place for a batch: of one row or all, one position or all.

        Raises:
            DataError: rows have no reference of their own, and need one.
        """
        if self.by_row:
            return _heads_elsewhere(model, batch, self.unit)
        positions = batch.position_ids
        if positions is None:
            positions = torch.arange(batch.input_ids.shape[1])[None]
        return {
            key: table[None]
            if len(table) == 1
            else table[positions.to(table.device).clamp(max=len(table) - 1)]
            for key, table in self.means.items()
        }


@plain_torch()
def make_reference(
    model: AnyModel,
    data: TokenData,
    kind: AblationKind,
    *,
    per_position: bool = False,
    unit: Unit = "head",
) -> Reference | None:
    """Make the values that ablated heads are replaced by; None for zero.

    Args:
        model: a causal language model; left as it is.
        data: rows that `mean` is over; for `resample` those to be scored, `with_partners`.
        kind: `zero`, `mean` or `resample`.
        per_position: means of every position by itself.
        unit: unit of the gates; with `head_and_mlp` MLPs have references too.

    Raises:
        ArchitectureError: the model's heads, or the MLPs that have gates, cannot be found.
        ConfigError: `per_position` of anything but means.
        DataError: rows that are resampled have no partners.
        GateError: the model uses a layer's heads several times in a pass, and they are resampled.
    """
    if per_position and kind != "mean":
        raise ConfigError(f"--per_position belongs to --ablation mean, not {kind}")
    if kind == "zero":
        return None
    if kind == "resample":
        if not data.has_references:
            raise DataError(
                f"rows of {data.name} have no reference rows to resample heads from; prepare them "
                "with chg.with_partners(data, seed), or with a column of corrupted prompts"
            )
        return Reference(kind, unit=unit)
    model = unwrap_model(model)
    sites = find_head_sites(model)
    sums = _Sums()
    with frozen(model), uncompiled():
        for _, batch in batches(data, ROWS, TOKENS):
            batch = batch.to(input_device(model))
            inputs, held = batch.inputs, batch.attention_mask
            for key, uses in record_heads(model, sites, inputs, unit).items():
                for values in uses:
                    sums.add(key, values, held, by_position=per_position)
    return Reference(kind, sums.means(), unit=unit)


@plain_torch()
def prepare(
    model: AnyModel,
    config: AblationConfig | OptimizerConfig,
    data: Sequence[TokenData | None],
    rows: TokenData | None = None,
    metric: Metric = "logprob",
) -> tuple[list[TokenData], Reference | None]:
    """Prepare everything that is scored for its kind of ablation and its metric.

    Args:
        model: a causal language model; left as it is.
        config: the kind of ablation, and the seed that draws counterfactual rows.
        data: all rows that will be scored; means are over the first of these. None stays None.
        rows: rows of means, or that counterfactual rows are drawn from, in place of `data`.
        metric: what is measured.

    Returns:
        The same data, with counterfactual rows where heads are resampled, scored where the metric
        is measured; and the reference.

    Raises:
        ConfigError, DataError, GateError: as `make_reference` and `with_partners`; or the model
            cannot read a row, or there are reference rows for ablation to zero.
    """
    kind = config.ablation
    if rows is not None and kind == "zero":
        raise ConfigError("reference rows belong to --ablation mean or resample, not zero")
    for part in (*data, rows):
        if part is not None:
            require_rows_for(model, part)
    prepared: list[Any] = [part and scored_for(part, metric) for part in data]
    if kind == "resample":
        prepared = [part and with_partners(part, config.seed, rows) for part in prepared]
    source = rows if rows is not None and kind == "mean" else prepared[0]
    by_position, unit = config.per_position, config.unit
    reference = make_reference(model, source, kind, per_position=by_position, unit=unit)
    if reference is not None and rows is not None:
        origin = {"reference_dataset": rows.name, "reference_fingerprint": rows.fingerprint}
        reference = replace(reference, origin=origin)
    return prepared, reference


def describe_reference(reference: Reference | None) -> dict[str, str]:
    """Describe, for metadata, the kind of ablation and the data set of a reference of its own."""
    return (
        {"ablation": "zero"}
        if reference is None
        else {
            "ablation": reference.kind,
            **reference.origin,
        }
    )


class _Sums:
    """Sums of heads over rows, by place, with the number of tokens in each."""

    def __init__(self) -> None:
        self._of: dict[SiteKey, tuple[Tensor, Tensor]] = {}
        self._dtype = torch.float32

    def add(
        self, key: SiteKey, values: Tensor, held: Int[Tensor, "row pos"], *, by_position: bool
    ) -> None:
        """Add the rows of a batch, padding left out."""
        held = held.to(values.device)
        self._dtype = torch.promote_types(values.dtype, torch.float32)
        # Sums in float64 wherever there is any: a data set has many tokens.
        exact = torch.float32 if values.device.type == "mps" else torch.float64
        summed = values.to(exact).masked_fill(held[..., None] == 0, 0).sum(0)
        counts = held.sum(0)
        if not by_position:
            summed, counts = summed.sum(0, keepdim=True), counts.sum(0, keepdim=True)
        before = self._of.get(key)
        if before is not None:
            longer, shorter = sorted([before, (summed, counts)], key=lambda pair: -len(pair[1]))
            for total, part in zip(longer, shorter, strict=True):
                total[: len(part)] += part
            summed, counts = longer
        self._of[key] = summed, counts

    def means(self) -> dict[SiteKey, Float[Tensor, "place width"]]:
        """Means at every position, and over all of them in the last row."""
        means = {}
        for key, (summed, counts) in self._of.items():
            overall = summed.sum(0, keepdim=True) / counts.sum()
            each = [summed / counts[:, None]] if len(counts) > 1 else []
            means[key] = torch.cat([*each, overall]).to(self._dtype)
        return means


def _heads_elsewhere(model: AnyModel, batch: Batch, unit: Unit) -> dict[SiteKey, Tensor]:
    """The heads of a batch's reference rows; past the end of one, those of its last token."""
    ids, mask = batch.reference_ids, batch.reference_mask
    if ids is None or mask is None:
        raise DataError(
            "rows have no reference rows to resample heads from; prepare all data that is scored "
            "with chg.with_partners(data, seed)"
        )
    model = unwrap_model(model)
    sites = find_head_sites(model)
    with frozen(model), uncompiled():
        found = record_heads(model, sites, {"input_ids": ids, "attention_mask": mask}, unit)
    last = mask.sum(1, keepdim=True) - 1
    places = torch.arange(ids.shape[1], device=ids.device).minimum(last)[..., None]
    return {
        key: uses[0].take_along_dim(places.to(uses[0].device), dim=1)
        for key, uses in _once(sites.gated(unit), found).items()
    }


def _once(
    sites: Iterable[HeadSite | MlpSite], found: dict[SiteKey, list[Tensor]]
) -> dict[SiteKey, list[Tensor]]:
    for site in sites:
        if len(found[site.key]) != 1:
            raise GateError(
                f"{site.path} is used {len(found[site.key])} times in a pass, so its heads, or "
                "its MLP, cannot be taken from another row; use --ablation mean or zero"
            )
    return found


def repeat_for_rows(value: Float[Tensor, "row place width"], rows: int) -> Tensor:
    """Repeat a layer's reference for copies of its batch, one after another."""
    of_batch = value.shape[0]
    return value if of_batch == 1 else value.repeat(rows // of_batch, 1, 1)


def at_scored_positions(
    value: Float[Tensor, "row place width"], scored: Int[Tensor, "scored"], length: int
) -> Float[Tensor, "scored_or_1 1 width"]:
    """Take a layer's reference at scored positions, `row * length + pos`, each as a row."""
    rows, places = value.shape[:2]
    if rows == places == 1:
        return value
    at = scored.to(value.device)
    return value[at // length % rows, at % length % places][:, None]

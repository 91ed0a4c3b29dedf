"""Load the inputs of a verb in the order that fails fastest: gates, rows, model, tokens.

Rows are opened before the model is loaded, and before torch is imported, so that a missing file, a
missing column or a missing split is refused at once.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlparse

from chg.config import (
    DEFAULT_SEED,
    AblationKind,
    DataConfig,
    Metric,
    ModelConfig,
    ReferenceData,
    Stage,
)
from chg.data import (
    RawRows,
    TokenData,
    is_local,
    open_held_out,
    open_rows,
    take_held_out,
    tokenize_rows,
    with_column,
)
from chg.errors import ConfigError, DataError, GateError

if TYPE_CHECKING:
    from chg.gating import HeadGates

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Inputs:
    """Rows that can be scored."""

    data: TokenData
    held_out: TokenData
    """Rows to measure on: kept out of fitting if that was asked for, otherwise the same ones."""
    reference: TokenData | None
    """Rows whose heads stand in for ablated ones; None where no such data set was named."""


@dataclass(frozen=True)
class OpenedInputs:
    """Rows opened and checked, which a tokenizer makes `Inputs` of."""

    rows: RawRows
    reference: RawRows | None
    validation: RawRows | None = None
    """Rows of the validation split; None where the held-out rows come from `rows`."""
    held_out: int | None = None
    """Number of held-out rows wanted; None for none."""
    seed: int = 42

    def tokenize(self, model: Any, tokenizer: Any) -> Inputs:
        """Tokenise the rows, none longer than the positions that the model has."""
        from chg.models import max_positions

        longest = max_positions(model)
        data = held_out = tokenize_rows(self.rows.cut_to(longest), tokenizer)
        if self.held_out is not None:
            validation = None if self.validation is None else self.validation.cut_to(longest)
            data, held_out = take_held_out(
                data, validation, tokenizer, rows=self.held_out, seed=self.seed
            )
        if self.reference is None:
            return Inputs(data, held_out, None)
        return Inputs(data, held_out, tokenize_rows(self.reference.cut_to(longest), tokenizer))


def open_inputs(
    config: DataConfig,
    kind: AblationKind,
    seed: int,
    *,
    reference: ReferenceData | None = None,
    held_out: int | None = None,
) -> OpenedInputs:
    """Open the rows of a verb, before its model is loaded.

    Args:
        config: the rows.
        kind: the kind of ablation, which says whether corrupted prompts are read.
        seed: draws rows.
        reference: the data set whose heads stand in for ablated ones, if one is named there.
        held_out: number of held-out rows wanted; None for none.

    Raises:
        ConfigError: a column is named that this kind of ablation does not read.
        DataError: a file, a column or a split is missing, or there is nothing to score.
    """
    reach_hub(config.dataset)
    config = for_ablation(config, kind)
    rows, validation = open_rows(config, seed), None
    if held_out is not None:
        validation = open_held_out(config, rows=held_out, seed=seed)
    others = None if reference is None else open_reference(reference, config, seed)
    return OpenedInputs(rows, others, validation, held_out, seed)


def open_reference(reference: ReferenceData, config: DataConfig, seed: int) -> RawRows | None:
    """Open the data set whose heads stand in for ablated ones, if one was named.

    Raises:
        DataError: a file, a column or a split is missing, or there is nothing to score.
    """
    name = reference.reference_dataset
    if name is None:
        return None
    reach_hub(name)
    config = replace(
        config,
        dataset=name,
        dataset_config=config.dataset_config if name == config.dataset else None,
        dataset_split=reference.reference_dataset_split,
        corrupted_column=None,
        foil_column=None,
    )
    return open_rows(config, seed)


def for_ablation(config: DataConfig, kind: AblationKind) -> DataConfig:
    """The data settings with the column of corrupted prompts, where heads are taken from there.

    Raises:
        ConfigError: a column is named that this kind of ablation does not read.
        DataError: the data cannot be loaded.
    """
    if kind == "resample":
        return with_column(config, "corrupted")
    if config.corrupted_column:
        raise ConfigError(f"--corrupted_column belongs to --ablation resample, not {kind}")
    return config


def for_metric(config: DataConfig, metric: Metric) -> DataConfig:
    """The data settings with the column of wrong answers, where targets are held against them.

    Raises:
        ConfigError: a column is named that this metric does not read.
        DataError: the data cannot be loaded, or has no wrong answers where they are needed.
    """
    if metric != "logit_diff":
        if config.foil_column:
            raise ConfigError(f"--foil_column belongs to --metric logit_diff, not {metric}")
        return config
    reach_hub(config.dataset)
    found = with_column(config, "foil")
    if found.foil_column is None:
        raise DataError(
            f"{config.dataset} has no column of wrong answers, foil, for --metric logit_diff to "
            "hold targets against; name one with --foil_column, or use --metric logprob or kl"
        )
    return found


def reach_hub(name: str) -> None:
    """Find out whether the hub can be reached, if the name is that of a data set there."""
    if not is_local(name):
        use_cache_when_hub_unreachable()


def use_cache_when_hub_unreachable() -> None:
    """Switch Hugging Face libraries to offline mode when their hub cannot be reached.

    Without it every look-up is retried for half a minute before it fails, or finds the cache.
    Called before those libraries are imported.
    """
    proxied = any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"))
    if "HF_HUB_OFFLINE" in os.environ or proxied:
        return
    endpoint = urlparse(os.environ.get("HF_ENDPOINT", "https://huggingface.co"))
    port = endpoint.port or (80 if endpoint.scheme == "http" else 443)
    try:
        socket.create_connection((endpoint.hostname or "", port), timeout=5).close()
    except OSError:
        os.environ["HF_HUB_OFFLINE"] = "1"


def load_gates(
    path: str | None, stage: Stage | None, seed: int, *, default: Stage, thresholded: bool
) -> HeadGates | None:
    """Load a gate file, or gates of a study's folder, if one was given.

    Args:
        path: the file or folder.
        stage: the stage that was asked for.
        seed: the verb's seed; of a study that has no such seed the first one is taken where this
            is the default.
        default: the stage where none was asked for.
        thresholded: cut a study's gates into 0 and 1.

    Raises:
        ConfigError: a stage is asked of a gate file, or of none.
        GateError, ResultsError: the file or study is missing or damaged, or has no such seed.
    """
    study = None
    if path is not None:
        from chg.gating import HeadGates, study_of

        study = study_of(path)
    if study is None:
        if stage is not None:
            raise ConfigError(f"--stage {stage} chooses of a study's folder; {path} is none")
        return None if path is None else HeadGates.load(path)
    own = seed if seed in study.seeds or seed != DEFAULT_SEED else None
    gates = HeadGates.from_study(study, stage=stage or default, seed=own, thresholded=thresholded)
    logger.info(
        "gates of %s: %s, seed %d%s",
        path,
        gates.metadata["stage"],
        gates.metadata["seed"],
        ", cut at 0.5 into 0 and 1" if thresholded else "",
    )
    return gates


def load_checked_model(config: ModelConfig, gates: HeadGates | None = None) -> tuple[Any, Any]:
    """Load a model and its tokenizer, and see that its heads are found and the gates fit it.

    Raises:
        ModelError, ArchitectureError: the model cannot be loaded, or its heads not found.
        GateError: the gates have another shape.
    """
    use_cache_when_hub_unreachable()
    from chg.models import find_head_sites, load_model

    if not (logger.isEnabledFor(logging.INFO) and sys.stderr.isatty()):
        from transformers.utils.logging import disable_progress_bar

        disable_progress_bar()
    model, tokenizer = load_model(config)
    sites = find_head_sites(model)
    headless = (~sites.existing()).all(dim=1).nonzero().flatten().tolist()
    if headless:
        logger.info("layers %s have no softmax heads, and so no gates", headless)
    shape = sites.shape
    if gates is not None and sites.unit_of(gates.logits) is None:
        raise GateError(
            f"the gate file holds {gates.num_layers} layers x {gates.num_heads} heads, "
            f"{config.model} has {shape[0]} x {shape[1]}; it belongs to another model"
        )
    return model, tokenizer

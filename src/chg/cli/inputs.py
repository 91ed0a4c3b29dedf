"""Loading what a verb works on, in the order that fails fastest."""

from __future__ import annotations

import logging
import sys
from dataclasses import replace
from typing import Any

from chg.config import AblationKind, DataConfig, ModelConfig, ReferenceData
from chg.data import TokenData, load_data, with_corrupted_column
from chg.errors import ConfigError, GateError
from chg.gating import HeadGates
from chg.models import (
    architecture_name,
    existing_heads,
    gate_shape,
    load_model,
    model_name,
    use_cache_when_hub_unreachable,
)

logger = logging.getLogger(__name__)


def load_gates(path: str | None) -> HeadGates | None:
    """Load a gate file, if one was given."""
    return None if path is None else HeadGates.load(path)


def load_checked_model(config: ModelConfig, gates: HeadGates | None) -> tuple[Any, Any]:
    """Load a model and its tokenizer, and see that its heads are found and the gates fit it.

    Raises:
        ModelError, ArchitectureError: the model cannot be loaded, or its heads not found.
        GateError: the gates have another shape.
    """
    use_cache_when_hub_unreachable()
    if not (logger.isEnabledFor(logging.INFO) and sys.stderr.isatty()):
        from transformers.utils.logging import disable_progress_bar

        disable_progress_bar()
    model, tokenizer = load_model(config)
    headless = (~existing_heads(model)).all(dim=1).nonzero().flatten().tolist()
    if headless:
        logger.info("layers %s have no softmax heads, and so no gates", headless)
    shape, groups = gate_shape(model), gate_shape(model, "kv_group")
    if gates is not None:
        if tuple(gates.logits.shape) not in (shape, groups):
            raise GateError(
                f"the gate file holds {gates.num_layers} layers x {gates.num_heads} heads, "
                f"{config.model} has {shape[0]} x {shape[1]}; it belongs to another model"
            )
        _warn_other_model(gates, model)
    return model, tokenizer


def load_inputs(
    model_config: ModelConfig, data_config: DataConfig, seed: int, gates: HeadGates | None
) -> tuple[Any, Any, TokenData]:
    """Load model, tokenizer and rows.

    Raises:
        ChgError: whatever is wrong with them.
    """
    model, tokenizer = load_checked_model(model_config, gates)
    data_config = fit_to_context(data_config, model)
    return model, tokenizer, load_data(data_config, tokenizer, seed=seed)


def for_ablation(config: DataConfig, kind: AblationKind) -> DataConfig:
    """The data settings with the column of corrupted prompts, where heads are taken from there.

    Raises:
        ConfigError: a column is named that this kind of ablation does not read.
        DataError: the data cannot be loaded.
    """
    if kind == "resample":
        return with_corrupted_column(config)
    if config.corrupted_column:
        raise ConfigError(f"--corrupted_column belongs to --ablation resample, not {kind}")
    return config


def load_reference(
    reference: ReferenceData, config: DataConfig, model: Any, tokenizer: Any, seed: int
) -> TokenData | None:
    """Load the data set whose heads stand in for ablated ones, if one was named."""
    name = reference.reference_dataset
    if name is None:
        return None
    same = name == config.dataset
    config = replace(
        fit_to_context(config, model),
        dataset=name,
        dataset_config=config.dataset_config if same else None,
        dataset_split=reference.reference_dataset_split,
        corrupted_column=None,
    )
    return load_data(config, tokenizer, seed=seed)


def fit_to_context(config: DataConfig, model: Any) -> DataConfig:
    """Rows are never longer than the positions the model has."""
    positions = getattr(model.config, "max_position_embeddings", None)
    if not isinstance(positions, int) or positions >= config.max_length:
        return config
    return replace(config, max_length=positions)


def _warn_other_model(gates: HeadGates, model: Any) -> None:
    """A gate file of the same shape may still be another model's."""
    there = gates.metadata.get("model")
    here = model_name(model)
    if there and there.rstrip("/").split("/")[-1] != here.rstrip("/").split("/")[-1]:
        logger.warning("the gates were fitted on %s, not on %s", there, here)
    elif gates.metadata.get("architecture", architecture_name(model)) != architecture_name(model):
        logger.warning("the gates were fitted on a %s model", gates.metadata["architecture"])

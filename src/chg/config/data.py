"""Settings of data: the rows, and which of their tokens are scored."""

from __future__ import annotations

from dataclasses import dataclass

from chg.config.choices import DEFAULT_SEED, Settings, require_positive, require_seed
from chg.errors import ConfigError

DEFAULT_DATASET = "wikitext"
DEFAULT_DATASET_CONFIG = "wikitext-2-raw-v1"
DEFAULT_LIMIT = 256
"""Rows that an ablation draws unless told otherwise."""


@dataclass(frozen=True)
class DataConfig(Settings):
    """The rows, and their tokens that are scored."""

    dataset: str = DEFAULT_DATASET
    """Hub name, local folder, a .jsonl .json .csv .parquet or .txt file, task:NAME (chg tasks lists
    them), or builtin:icl, builtin:instruction, builtin:aba, builtin:copy."""
    dataset_config: str | None = None
    """Configuration of the dataset; wikitext takes wikitext-2-raw-v1 if none is given."""
    dataset_split: str = "train"
    """Split, slices allowed: train[:100], train[:1%]; auto is validation where there is one, else
    train."""
    text_column: str | None = None
    """Column of plain text: every token but the first is scored (default: text)."""
    prompt_column: str | None = None
    """Column of prompts, read but not scored (default: prompt)."""
    target_column: str | None = None
    """Column of targets: only their tokens are scored (default: target)."""
    corrupted_column: str | None = None
    """Column of counterfactual prompts that --ablation resample takes heads from (default:
    corrupted, where there is one)."""
    foil_column: str | None = None
    """Column of wrong answers that --metric logit_diff holds targets against (default: foil, where
    there is one)."""
    separator: str = " "
    """Put between prompt and target where neither brings white space."""
    chat_template: bool = False
    """Wrap each prompt as a user's turn in the tokenizer's chat template."""
    max_length: int = 512
    """Cut rows to this many tokens (text: the end; prompt and target: the prompt's beginning)."""
    limit: int | None = None
    """Use at most this many rows, drawn with the seed; 0 is all."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_length < 2:
            raise ConfigError(f"--max_length must be at least 2, got {self.max_length}")
        if self.limit is not None and self.limit < 0:
            raise ConfigError(f"--limit must be 0 (all rows) or more, got {self.limit}")
        if bool(self.prompt_column) != bool(self.target_column):
            raise ConfigError("--prompt_column and --target_column go together")
        if self.text_column and self.prompt_column:
            raise ConfigError("give --text_column, or --prompt_column and --target_column")
        for name in ("corrupted_column", "foil_column"):
            if self.text_column and getattr(self, name):
                raise ConfigError(f"--{name} goes with prompts and targets, not --text_column")

    @property
    def resolved_config(self) -> str | None:
        """The configuration to load, with wikitext's default filled in."""
        if self.dataset_config is None and self.dataset == DEFAULT_DATASET:
            return DEFAULT_DATASET_CONFIG
        return self.dataset_config


@dataclass(frozen=True)
class AblationData(DataConfig):
    """The rows, and their tokens that are scored."""

    dataset_split: str = "auto"
    """Split, slices allowed: validation[:100]; auto is validation where there is one, else
    train."""
    limit: int | None = DEFAULT_LIMIT
    """Use at most this many rows, drawn with the seed; 0 is all."""


@dataclass(frozen=True)
class ReferenceData(Settings):
    """Rows whose heads stand in for ablated ones, with --ablation mean or resample."""

    reference_dataset: str | None = None
    """Data set whose heads stand in, read with the same columns; the rows themselves if not
    given."""
    reference_dataset_split: str = "train"
    """Its split, slices allowed; auto is validation where there is one, else train."""


@dataclass(frozen=True)
class RetainData(Settings):
    """The behaviour to keep."""

    retain_dataset: str | None = None
    """Hub name, local folder or file, task:... or builtin:...; wikitext if not given."""
    retain_dataset_config: str | None = None
    """Configuration of the dataset; wikitext takes wikitext-2-raw-v1 if none is given."""
    retain_dataset_split: str = "train"
    """Split, slices allowed."""
    retain_text_column: str | None = None
    """Column of plain text: every token but the first is scored (default: text)."""
    retain_prompt_column: str | None = None
    """Column of prompts, read but not scored (default: prompt)."""
    retain_target_column: str | None = None
    """Column of targets: only their tokens are scored (default: target)."""


@dataclass(frozen=True)
class ForgetData(Settings):
    """The behaviour to lose."""

    forget_dataset: str | None = None
    """Hub name, local folder or file, task:... or builtin:... Must be given, unless
    --tuples_dataset is."""
    forget_dataset_config: str | None = None
    """Configuration of the dataset."""
    forget_dataset_split: str = "train"
    """Split, slices allowed."""
    forget_text_column: str | None = None
    """Column of plain text: every token but the first is scored (default: text)."""
    forget_prompt_column: str | None = None
    """Column of prompts, read but not scored (default: prompt)."""
    forget_target_column: str | None = None
    """Column of targets: only their tokens are scored (default: target)."""


@dataclass(frozen=True)
class TupleData(Settings):
    """Both at once: rows with retain_prompt, retain_target, forget_prompt and forget_target."""

    tuples_dataset: str | None = None
    """Matched tuples, paired row by row, in place of --retain_dataset and --forget_dataset: hub
    name, local folder or file, or builtin:format."""
    tuples_dataset_config: str | None = None
    """Configuration of the dataset."""
    tuples_dataset_split: str = "train"
    """Split, slices allowed."""
    hold_out: str | None = None
    """Leave this task out of fitting and measure on it as well; each does every task in turn."""
    task_column: str = "task"
    """Column that says which task a tuple is of."""


@dataclass(frozen=True)
class SharedData(Settings):
    """Settings of the rows of both sides."""

    separator: str = " "
    """Put between prompt and target where neither brings white space."""
    chat_template: bool = False
    """Wrap each prompt as a user's turn in the tokenizer's chat template."""
    max_length: int = 512
    """Cut rows to this many tokens."""
    limit: int | None = None
    """Use at most this many rows (tuples) of either side, drawn with the seed; 0 is all."""


@dataclass(frozen=True)
class TaskCheck(Settings):
    """The measurement of what a model can do."""

    limit: int = 64
    """Rows of each task, held-out ones."""
    batch_size: int = 16
    """Rows per forward pass at most."""
    seed: int = DEFAULT_SEED
    """Draws the rows."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(limit=self.limit, batch_size=self.batch_size)
        require_seed(self.seed)

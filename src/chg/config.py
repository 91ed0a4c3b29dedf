"""Every setting of every command, as frozen dataclasses: defaults < YAML file < flags.

The text under a field is its help on the command line. The same objects serve Python, YAML and the
command line; each validates itself once, when it is made. Nothing heavy is imported here, so that
`--help` answers at once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from chg.errors import ConfigError

OPEN_ABOVE = 0.7
CLOSED_BELOW = 0.3
"""The specification's reading of gates: open above 0.7, closed below 0.3, else middle."""

DEFAULT_DATASET = "wikitext"
DEFAULT_DATASET_CONFIG = "wikitext-2-raw-v1"

Dtype = Literal["auto", "float32", "bfloat16", "float16", "float64"]
"""auto: float32 on a CPU, the checkpoint's own elsewhere. Gates and the loss are float32 always."""

AblationMode = Literal["individual", "sequential", "estimate"]
"""individual: every head alone. sequential: one after another, each left out from then on.
estimate: every head alone, from gradients in place of ablation."""

AblationOrder = Literal["forward", "backward", "random"]
"""forward: layer 0 up, head 0 up. backward: the exact reverse. random: drawn from the seed."""

AblationKind = Literal["zero", "mean", "resample"]
"""What an ablated head is replaced by. zero: nothing. mean: its mean over reference rows.
resample: its output in another row, or in a row's corrupted prompt."""

LambdaScale = Literal["mean", "per_head"]
"""mean: the regulariser averages over heads. per_head: it sums, as the paper's equation does."""

Recompute = Literal["none", "mlp", "layer"]
"""What a backward pass computes again in place of keeping it: the more, the less memory."""

Reporter = Literal["none", "wandb", "tensorboard", "trackio"]
"""Experiment trackers, through accelerate."""


def _check_kind(ablation: AblationKind, per_position: bool) -> None:
    if per_position and ablation != "mean":
        raise ConfigError(f"--per_position belongs to --ablation mean, not {ablation}")


def _positive(**settings: float | None) -> None:
    for name, value in settings.items():
        if value is not None and not value > 0:
            raise ConfigError(f"--{name} must be greater than 0, got {value}")


@dataclass(frozen=True)
class ModelConfig:
    """Which model, and how it is loaded."""

    model: str = "gpt2"
    """Hub name, local folder, or builtin:tiny (ships with chg, needs no network)."""
    revision: str | None = None
    """Branch, tag or commit of the model on the hub."""
    dtype: Dtype = "auto"
    """Precision of the weights; auto is float32 on a CPU and the checkpoint's own elsewhere."""
    device: str = "auto"
    """auto (a GPU where there is one), cpu, cuda, cuda:1, mps ..."""
    device_map: str | None = None
    """Let accelerate place the model, e.g. auto; replaces --device."""
    attn_implementation: str | None = None
    """sdpa, eager, flash_attention_2 ...; the model's default if not given."""
    trust_remote_code: bool = False
    """Run model code that comes with the checkpoint. Only for authors you trust."""


@dataclass(frozen=True)
class DataConfig:
    """Which rows, and which of their tokens are scored."""

    dataset: str = DEFAULT_DATASET
    """Hub name, local folder, a .jsonl .json .csv .parquet or .txt file, or builtin:icl,
    builtin:instruction, builtin:aba, builtin:copy."""
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
    separator: str = " "
    """Put between prompt and target where neither brings white space."""
    chat_template: bool = False
    """Wrap each prompt as a user's turn in the tokenizer's chat template."""
    max_length: int = 512
    """Cut rows to this many tokens (text: the end; prompt and target: the prompt's beginning)."""
    limit: int | None = None
    """Use at most this many rows, drawn with the seed; 0 is all."""

    def __post_init__(self) -> None:
        if self.max_length < 2:
            raise ConfigError(f"--max_length must be at least 2, got {self.max_length}")
        if self.limit is not None and self.limit < 0:
            raise ConfigError(f"--limit must be 0 (all rows) or more, got {self.limit}")
        if bool(self.prompt_column) != bool(self.target_column):
            raise ConfigError("--prompt_column and --target_column go together")
        if self.text_column and self.prompt_column:
            raise ConfigError("give --text_column, or --prompt_column and --target_column")
        if self.text_column and self.corrupted_column:
            raise ConfigError("--corrupted_column goes with prompts and targets, not --text_column")

    @property
    def resolved_config(self) -> str | None:
        """The configuration to load, with wikitext's default filled in."""
        if self.dataset_config is None and self.dataset == DEFAULT_DATASET:
            return DEFAULT_DATASET_CONFIG
        return self.dataset_config


Unit = Literal["head", "kv_group"]
UNIT_NAMES: dict[Unit, str] = {"head": "head", "kv_group": "key-value group"}
"""unit -> what people call it"""


@dataclass(frozen=True)
class OptimiserConfig:
    """How gates are optimised."""

    lambda_reg: float = 0.0
    """Regularisation: 0 initialisation (G0), < 0 retention (G+, gates pushed up; typically -0.1 to
    -0.5), > 0 removal (G-, gates pushed down; typically 0.1 to 0.5)."""
    lr: float = 0.01
    """Fraction of the full gate range one update may move a gate; falls to a tenth. 0.005 to
    0.05."""
    epochs: int = 3
    """Passes over the rows. Updates matter, not epochs: 200 to 500 are usually enough."""
    max_steps: int | None = None
    """Stop after this many updates, whatever --epochs says."""
    batch_size: int = 4
    """Rows per forward pass."""
    grad_accum_steps: int = 1
    """Forward passes per update; the update sees batch_size x grad_accum_steps rows."""
    seed: int = 42
    """Seed of the starting gates, the order of rows and the choice of rows."""
    gate_init: str = "random"
    """Start of the gates: random (uniform in 0.02 to 0.98), open (0.98), or a number in (0, 1)."""
    lambda_scale: LambdaScale = "mean"
    """mean: lambda_reg times the mean of the clamped logits; per_head: times their sum."""
    unit: Unit = "head"
    """What has a gate: every query head, or every kv_group of heads that share keys and values."""
    ablation: AblationKind = "zero"
    """What a gate takes a head to: zero, its mean over the rows, or resample: its output in another
    row or in the row's corrupted prompt."""
    per_position: bool = False
    """With --ablation mean: a mean of every position by itself."""
    recompute: Recompute = "none"
    """Less memory for more time: compute each mlp, or each layer, again in the backward pass."""
    paper_clip: bool = False
    """Reproduce the published clip, which gives a gate outside its range no push back."""

    def __post_init__(self) -> None:
        _check_kind(self.ablation, self.per_position)
        _positive(
            lr=self.lr,
            epochs=self.epochs,
            max_steps=self.max_steps,
            batch_size=self.batch_size,
            grad_accum_steps=self.grad_accum_steps,
        )
        if self.gate_init not in ("random", "open"):
            try:
                inside = 0 < float(self.gate_init) < 1
            except ValueError:
                inside = False
            if not inside:
                raise ConfigError(
                    f"--gate_init must be random, open, or a number between 0 and 1, "
                    f"got {self.gate_init!r}"
                )


@dataclass(frozen=True)
class FitConfig(OptimiserConfig):
    """How gates are fitted."""

    batch_tokens: int | None = None
    """Tokens per forward pass at most, in place of --batch_size rows; the update sees as many rows
    as before, those of like length together."""
    eval_rows: int = 64
    """Rows of training and of held-out data on which NLL figures are measured."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _positive(eval_rows=self.eval_rows, batch_tokens=self.batch_tokens)


@dataclass(frozen=True)
class StudyConfig(OptimiserConfig):
    """What a study fits, and how it is read."""

    seeds: int = 10
    """Starting points, each with its own G0, G+ and G-, all fitted side by side."""
    lambda_reg: float = 0.1
    """Strength of the push: retention is fitted with minus this, removal with plus this."""
    lambda_path: str | None = None
    """Further strengths, as in 0.02,0.05,0.2,0.5: over which of them does a head keep its role?"""
    lr: float = 0.0125
    """Fraction of the full gate range one update of G0 may move a gate; falls to a tenth."""
    lr_pushed: float = 0.0625
    """The same of G+ and G-; falls to a fifth. Both as in the paper."""
    epochs: int = 3
    """Passes over the rows in each stage, with --max_steps None."""
    max_steps: int | None = 500
    """Updates of each stage at most."""
    batch_size: int = 16
    """Rows per update; every seed sees the same ones."""
    early_stop: bool = True
    """Stop a fit when none of its gates has moved by 0.02 in 50 updates."""
    seeds_per_batch: int | None = None
    """Gate matrices that share a forward pass; as many as are useful and memory holds if not
    given."""
    checkpoint_every: int = 25
    """Updates between checkpoints; a killed run loses no more."""
    eval_rows: int = 128
    """Held-out rows for ablation, the causal check and NLL figures."""
    open_above: float = OPEN_ABOVE
    """A gate above this counts as high."""
    closed_below: float = CLOSED_BELOW
    """A gate below this counts as low."""
    agreement: float = 0.8
    """Share of the seeds that must give a head the same role; otherwise it is undecided."""
    check_seeds: int = 3
    """Seeds whose gates are checked causally; 0 leaves the check out."""
    check_points: int = 12
    """Steps of a causal curve, about."""
    check_tolerance: float = 0.05
    """What counts as about zero there, as a share of the largest difference."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _positive(
            seeds=self.seeds,
            lambda_reg=self.lambda_reg,
            lr_pushed=self.lr_pushed,
            seeds_per_batch=self.seeds_per_batch,
            checkpoint_every=self.checkpoint_every,
            eval_rows=self.eval_rows,
            agreement=self.agreement,
            check_points=self.check_points,
            check_tolerance=self.check_tolerance,
        )
        if not 0 < self.closed_below <= self.open_above < 1:
            raise ConfigError(
                "--closed_below and --open_above must lie between 0 and 1, in this order; got "
                f"{self.closed_below} and {self.open_above}"
            )
        if self.check_seeds < 0:
            raise ConfigError(f"--check_seeds must be 0 or more, got {self.check_seeds}")
        self.lambdas  # noqa: B018 - checked when made

    @property
    def all_seeds(self) -> tuple[int, ...]:
        """The seeds, counted up from `seed`."""
        return tuple(range(self.seed, self.seed + self.seeds))

    @property
    def lambdas(self) -> tuple[float, ...]:
        """`lambda_reg` and the strengths of the path, rising.

        Raises:
            ConfigError: one is no number, or not above 0.
        """
        try:
            further = [
                float(part) for part in (self.lambda_path or "").strip("[]").split(",") if part
            ]
        except ValueError:
            further = [-1.0]
        if not all(0 < one < math.inf for one in further):
            raise ConfigError(
                f"--lambda_path must be numbers above 0, as in 0.02,0.05,0.2, "
                f"got {self.lambda_path}"
            )
        return tuple(sorted({self.lambda_reg, *further}))


@dataclass(frozen=True)
class ContrastConfig(OptimiserConfig):
    """How contrastive gates are fitted (paper, eq. 2)."""

    epochs: int = 5
    """Passes over the smaller side's rows."""
    alpha: float | str = 1.0
    """Weight of forgetting; 0 is plain retention. Several, as in 0.25,0.5,1,2,4, are fitted side by
    side for a trade-off curve."""
    both_directions: bool = False
    """Fit the reverse as well: retain what is forgotten, and forget what is retained."""
    bound: float = 5.0
    """Nats per token by which the retain side must beat the forget side; more earns nothing."""
    starts: int = 4
    """Starting points fitted side by side, from seed, seed + 1 ...; the best on held-out rows is
    kept."""
    eval_rows: int = 256
    """Held-out rows of each side on which NLL and accuracy are measured."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _positive(bound=self.bound, starts=self.starts, eval_rows=self.eval_rows)
        _ = self.alphas

    @property
    def alphas(self) -> tuple[float, ...]:
        """Every weight of forgetting, ascending.

        Raises:
            ConfigError: one is no number, negative or there twice.
        """
        try:
            found = tuple(sorted(float(part) for part in str(self.alpha).strip("[]").split(",")))
        except ValueError:
            found = ()
        sound = all(0 <= alpha < math.inf for alpha in found)
        if not found or not sound or len(set(found)) < len(found):
            raise ConfigError(
                "--alpha must be a number of 0 or more, or different ones as in 0.5,1,2, "
                f"got {self.alpha}"
            )
        return found


@dataclass(frozen=True)
class AblationConfig:
    """Which heads are taken out, in which way."""

    mode: AblationMode = "individual"
    """individual: every head alone; sequential: one after another, left out from then on;
    estimate: every head alone, guessed from a few gradients for a first look."""
    ablation_order: AblationOrder = "forward"
    """Order of sequential ablation; random follows the seed."""
    unit: Unit = "head"
    """What is taken out: a query head, or a kv_group of heads that share keys and values."""
    ablation: AblationKind = "zero"
    """What a head is replaced by: zero, its mean over the rows, or resample: its output in another
    row or in the row's corrupted prompt."""
    per_position: bool = False
    """With --ablation mean: a mean of every position by itself."""
    batch_size: int = 16
    """Rows per forward pass at most; rows that begin alike go together in any number."""
    screening: bool = False
    """Multiply matrices in bfloat16, for a faster look; --dtype bfloat16 means this."""
    confirm: int = 0
    """After screening or an estimate, score this many of the strongest heads, and of those nearest
    to zero, exactly."""
    seed: int = 42
    """Seed of the random order and of the choice of rows."""

    def __post_init__(self) -> None:
        _check_kind(self.ablation, self.per_position)
        _positive(batch_size=self.batch_size)
        if self.confirm < 0:
            raise ConfigError(f"--confirm must be 0 or more, got {self.confirm}")
        if self.confirm and self.mode == "sequential":
            raise ConfigError("--confirm scores heads alone; use --mode individual or estimate")
        if self.screening and self.mode == "estimate":
            raise ConfigError("an estimate is not screened; give --screening or --mode estimate")


@dataclass(frozen=True)
class AnalysisConfig:
    """What is drawn and listed from results on disk."""

    results: str = "ablation_results.json"
    """Results of chg ablate."""
    gates: str | None = None
    """Gate file whose values are shown beside the scores."""
    gates_retention: str | None = None
    """Gate file of the retention fit (G+); with --gates_removal it gives every head a role."""
    gates_removal: str | None = None
    """Gate file of the removal fit (G-)."""
    output_dir: str = "analysis_output"
    """Folder for the pictures, head_rankings.csv and summary_report.txt."""
    top_k: int = 50
    """Length of the report's lists; the csv always holds every head."""

    def __post_init__(self) -> None:
        _positive(top_k=self.top_k)
        if bool(self.gates_retention) != bool(self.gates_removal):
            raise ConfigError(
                "--gates_retention and --gates_removal go together: a role needs both fits"
            )

"""Settings of ablation, and of the analysis of its results."""

from __future__ import annotations

from dataclasses import dataclass

from chg.config.choices import (
    DEFAULT_SEED,
    AblationKind,
    AblationMode,
    AblationOrder,
    Metric,
    Settings,
    Unit,
    require_kind,
    require_positive,
    require_seed,
)
from chg.errors import ConfigError


@dataclass(frozen=True)
class AblationConfig(Settings):
    """The heads taken out, and the way it is done."""

    mode: AblationMode = "individual"
    """individual: every head alone; sequential: one after another, left out from then on;
    estimate: every head alone, guessed from a few gradients for a first look."""
    ablation_order: AblationOrder = "forward"
    """Order of sequential ablation; random follows the seed."""
    unit: Unit = "head"
    """Taken out at a time: a query head, a kv_group of heads that share keys and values, or with
    head_and_mlp a query head or an MLP block."""
    ablation: AblationKind = "zero"
    """Replacement of a head: zero, its mean over the rows, or resample: its output in another row
    or in the row's corrupted prompt."""
    metric: Metric = "logprob"
    """Measure of the model: logprob, the log-probability of targets; logit_diff, the logit of the
    target less that of a wrong answer (column foil); or kl, the likeness to the ungated model,
    without targets."""
    per_position: bool = False
    """With --ablation mean: a mean of every position by itself."""
    batch_size: int = 16
    """Rows per forward pass at most; rows that begin alike go together in any number."""
    screening: bool = False
    """Multiply matrices in bfloat16, for a faster look; the weights stay as --dtype has them."""
    confirm: int = 0
    """After screening or an estimate, score this many of the strongest heads, and of those nearest
    to zero, exactly."""
    seed: int = DEFAULT_SEED
    """Seed of the random order and of the choice of rows, and of the fit where --gates is a study's
    folder (its first seed, where it has none of the default)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_kind(self.ablation, self.per_position)
        require_positive(batch_size=self.batch_size)
        require_seed(self.seed)
        if self.confirm < 0:
            raise ConfigError(f"--confirm must be 0 or more, got {self.confirm}")
        if self.confirm and self.mode == "sequential":
            raise ConfigError("--confirm scores heads alone; use --mode individual or estimate")
        if self.confirm and self.mode != "estimate" and not self.screening:
            raise ConfigError(
                "--confirm follows --screening or --mode estimate; this is exact (--dtype bfloat16 "
                "loads the weights in bfloat16; to screen with it, use --screening)"
            )
        if self.screening and self.mode == "estimate":
            raise ConfigError("an estimate is not screened; give --screening or --mode estimate")


@dataclass(frozen=True)
class AnalysisConfig(Settings):
    """Results on disk that are drawn and listed."""

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
        super().__post_init__()
        require_positive(top_k=self.top_k)
        if bool(self.gates_retention) != bool(self.gates_removal):
            raise ConfigError(
                "--gates_retention and --gates_removal go together: a role needs both fits"
            )

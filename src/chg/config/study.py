"""Settings of a study and of its causal check."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields

from chg.config.choices import CLOSED_BELOW, OPEN_ABOVE, Metric, Settings, require_positive
from chg.config.fitting import OptimizerConfig
from chg.config.recipes import FROM_RECIPE, RECIPES, Recipe, RecipeSettings
from chg.errors import ConfigError


@dataclass(frozen=True)
class CheckConfig(Settings):
    """The study, and the way it is checked."""

    run: str = "runs/study"
    """Folder of a finished study."""
    seeds: int = 3
    """Seeds whose gates are checked, from the first on; fewer where that would cost more than
    half of ablating every head."""
    points: int = 12
    """Steps of a curve at most; fewer for the same reason."""
    tolerance: float | None = None
    """Nats per token that count as about zero; a tenth of the effect of closing the facilitating
    heads together if not given."""
    eval_rows: int | None = None
    """Held-out rows to measure on; as many as in the study if not given."""
    dataset: str | None = None
    """Another data set to check on, with the columns of the study's."""
    dataset_config: str | None = None
    """Its configuration."""
    out: str | None = None
    """Folder for checks.json and the picture; `validation` inside the run if not given."""
    trust_remote_code: bool = False
    """Run model code that comes with the checkpoint, as the study did. Only for authors you
    trust."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(
            seeds=self.seeds, points=self.points, tolerance=self.tolerance, eval_rows=self.eval_rows
        )


@dataclass(frozen=True)
class StudyConfig(OptimizerConfig):
    """The fits of a study, and the way they are read."""

    recipe: Recipe = "standard"
    """Settings of the fits that go together: standard, five starts and few updates; or paper, the
    published ones, 44 times as many passes. What is given by itself wins."""
    seeds: int = FROM_RECIPE
    """Starting points, each with its own G0, G+ and G-, all fitted side by side."""
    lambda_reg: float = 0.1
    """Strength of the push: retention is fitted with minus this, removal with plus this."""
    metric: Metric = "logprob"
    """Measure that gates keep and ablation changes: logprob, the log-probability of targets;
    logit_diff, the logit of the target less that of a wrong answer (column foil); or kl, the
    likeness to the ungated model, without targets."""
    lambda_path: str | None = None
    """Further strengths, as in 0.02,0.05,0.2,0.5: over which of them does a head keep its role?"""
    lr: float = FROM_RECIPE
    """Fraction of the full gate range one update of G0 may move a gate; falls to a tenth."""
    lr_pushed: float = FROM_RECIPE
    """The same of G+ and G-; falls to a twentieth, with the paper's recipe to a fifth."""
    epochs: int = 3
    """Passes over the rows in each stage, with --max_steps None."""
    max_steps: int | None = FROM_RECIPE
    """Updates of G+ and of G- at most."""
    initial_steps: int = FROM_RECIPE
    """Updates of G0; never more than those of G+ and G-."""
    batch_size: int = FROM_RECIPE
    """Rows per update; every seed sees the same ones."""
    gate_init: str = FROM_RECIPE
    """Start of the gates: random (uniform in 0.02 to 0.98), uniform (in 0 to 1), open (0.98), or a
    number in (0, 1)."""
    paper_clip: bool = FROM_RECIPE
    """Reproduce the published clip, which gives a gate outside its range no push back."""
    early_stop: bool = FROM_RECIPE
    """Stop a fit when none of its gates has moved by 0.02 in 50 updates."""
    seeds_per_batch: int | None = None
    """Gate matrices that share a forward pass; if not given, as many as are useful and memory
    holds, on a CPU of one seed."""
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
    """Seeds whose gates are checked causally, fewer where that would cost more than half of
    ablating every head; 0 leaves the check out."""
    check_points: int = 12
    """Steps of a causal curve at most; fewer for the same reason."""
    check_tolerance: float | None = None
    """Nats per token that count as about zero; a tenth of the effect of closing the facilitating
    heads together if not given."""
    budget_steps: int = 100
    """Updates of the fit that ranks heads for every number of them kept; 0 leaves out the ranking
    and its faithfulness."""
    patterns: bool = True
    """Measure where every head looks on repeated random tokens: previous-token, duplicate-token and
    induction scores."""

    def __post_init__(self) -> None:
        given_by_recipe = asdict(self.recipe_settings)
        for field in fields(self):
            if getattr(self, field.name) is FROM_RECIPE:
                object.__setattr__(self, field.name, given_by_recipe[field.name])
        super().__post_init__()
        require_positive(
            seeds=self.seeds,
            initial_steps=self.initial_steps,
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
        for name in ("check_seeds", "budget_steps"):
            if getattr(self, name) < 0:
                raise ConfigError(f"--{name} must be 0 or more, got {getattr(self, name)}")
        self.lambdas  # noqa: B018 - checked when made

    @property
    def recipe_settings(self) -> RecipeSettings:
        """Settings that the recipe gives."""
        known = isinstance(self.recipe, str) and self.recipe in RECIPES  # checked after this
        return RECIPES[self.recipe if known else "standard"]

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
        if not all(0 < strength < math.inf for strength in further):
            raise ConfigError(
                f"--lambda_path must be numbers above 0, as in 0.02,0.05,0.2, "
                f"got {self.lambda_path}"
            )
        return tuple(sorted({self.lambda_reg, *further}))

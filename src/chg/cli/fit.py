"""`chg fit`: load, fit, save, and a table of what came out."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chg.cli import terminal
from chg.cli.parsing import flat_settings
from chg.cli.terminal import format_number, print_table, require_gate_file_name, say
from chg.config import (
    METRIC_WORDS,
    DataConfig,
    FitConfig,
    ModelConfig,
    ReferenceData,
    Reporter,
    Stage,
)
from chg.errors import ConfigError

if TYPE_CHECKING:
    from chg.cli.inputs import Inputs
    from chg.fitting import FitResult
    from chg.gating import HeadGates
    from chg.results import Faithfulness


EXAMPLES = """\
  chg fit --model builtin:tiny --dataset builtin:icl --out gates_init.pt
  chg fit --model gpt2 --init gates_init.pt --out gates_removal.pt --lambda_reg 0.1
  chg fit --model gpt2 --init runs/gpt2 --stage initial --seed 42 --lambda_reg -0.1
  chg fit --model gpt2 --budget --out ranking.safetensors --max_steps 500 --batch_size 8"""


@dataclass(frozen=True)
class Output(terminal.Output):
    """Gates to start from, and where the fitted ones go."""

    out: str = "gates.pt"
    """Gate file to write, .pt or .safetensors."""
    budget: bool = False
    """Rank heads in place of fitting gates: one score per head, so that the first ones do the task
    alone, for every number of them at once. The gate file then holds scores."""
    init: str | None = None
    """Gate file, or a study's folder, to start from, such as the initialisation (G0) for retention
    and removal."""
    stage: Stage | None = None
    """With a study's folder: start from its gates of this stage (default: initial), of the fit of
    --seed or else of its first."""
    report_to: Reporter = "none"
    """Experiment tracker that receives the figures of every update."""


@dataclass(frozen=True)
class Command:
    """Fit one gate per attention head, with the model's weights frozen.

    Minimises NLL + lambda_reg * mean(gate logits): 0 preserves behaviour (G0), below 0 pushes gates
    open (retention, G+), above 0 pushes them closed (removal, G-).
    """

    output: Output = field(default_factory=Output)
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    fit: FitConfig = field(default_factory=FitConfig)
    reference: ReferenceData = field(default_factory=ReferenceData)


def run(command: Command) -> None:
    """Fit and save."""
    from chg.cli.inputs import for_metric, load_checked_model, load_gates, open_inputs
    from chg.files import ensure_writable

    require_gate_file_name(command.output.out)
    if command.output.budget and command.fit.lambda_reg:
        raise ConfigError("--budget ranks heads without a push; leave out --lambda_reg")
    out = ensure_writable(command.output.out)
    init = load_gates(
        command.output.init,
        command.output.stage,
        command.fit.seed,
        default="initial",
        thresholded=False,
    )
    opened = open_inputs(
        for_metric(command.data, command.fit.metric),
        command.fit.ablation,
        command.fit.seed,
        reference=command.reference,
        held_out=command.fit.eval_rows,
    )
    model, tokenizer = load_checked_model(command.model, init)
    from chg.cli.competence import say_competence

    inputs = opened.tokenize(model, tokenizer)
    how = command.fit
    able = say_competence(model, inputs.held_out, batch_size=how.batch_size, metric=how.metric)
    if command.output.budget:
        _rank(command, model, inputs, init)
        return
    result = _fit(command, model, inputs, init)
    settings = flat_settings(command)
    metadata = {**result.gates.metadata, "configuration": settings, "competence": able}
    replace(result.gates, metadata=metadata).save(out)
    _print(result, command)


def _fit(command: Command, model: Any, inputs: Inputs, init: HeadGates | None) -> FitResult:
    """Fit, and save the last good gates of a fit that diverges.

    Raises:
        DivergedError: the loss became NaN; the message says where the gates before it are.
    """
    from chg.errors import DivergedError
    from chg.fitting import fit_gates
    from chg.progress import tracker

    try:
        with tracker(command.output.report_to, flat_settings(command)) as report:
            return fit_gates(
                model,
                inputs.data,
                command.fit,
                init=init,
                held_out=inputs.held_out,
                reference=inputs.reference,
                show_progress=not command.output.quiet,
                report=report,
            )
    except DivergedError as error:
        out = Path(command.output.out)
        last_good = out.with_name(f"{out.stem}.last_good{out.suffix}")
        replace(error.last_good[0], metadata={"diverged": str(error)}).save(last_good)
        raise DivergedError(f"{error}. The gates before it are in {last_good}") from error


def _rank(command: Command, model: Any, inputs: Inputs, init: HeadGates | None) -> None:
    """Rank heads, measure the ranking on held-out rows beside random ones, and save it."""
    from chg.ablation import faithfulness
    from chg.fitting import fit_budgeted
    from chg.progress import tracker
    from chg.results import BUDGETED

    settings, show = flat_settings(command), not command.output.quiet
    with tracker(command.output.report_to, settings) as report:
        gates = fit_budgeted(
            model,
            inputs.data,
            command.fit,
            init=init,
            reference=inputs.reference,
            show_progress=show,
            report=report,
        )
    found = faithfulness(
        model,
        inputs.held_out.sample(command.fit.eval_rows, 0),
        {BUDGETED: gates},
        reference=inputs.reference,
        show_progress=show,
        **{name: settings[name] for name in ("ablation", "per_position", "metric", "seed")},
        batch_size=command.fit.batch_size,
    )
    own = next(curve for curve in found.curves if curve.ranking == BUDGETED)
    figures = {**gates.metadata["figures"], "cmd": asdict(own.cmd), "cpr": asdict(own.cpr)}
    metadata = {**gates.metadata, "configuration": settings, "figures": figures}
    replace(gates, metadata=metadata).save(command.output.out)
    _print_ranking(command, found)


def _print_ranking(command: Command, found: Faithfulness) -> None:
    """Print the figures of a ranking, and where it is."""
    print_table(
        f"{command.model.model}: the first heads kept, the others ablated, on {found.rows} "
        "held-out rows (95 % intervals)",
        ("ranking", "CMD (lower is better)", "CPR (higher)", "heads for 90 %"),
        [
            (curve.ranking, str(curve.cmd), str(curve.cpr), str(found.size_reaching(curve)))
            for curve in found.curves
        ],
    )
    say(found.sentence)
    say(f"wrote {command.output.out}")


def _kind(command: Command) -> str:
    kind = command.fit.ablation
    return "" if kind == "zero" else f", {kind} ablation"


def _print(result: FitResult, command: Command) -> None:
    print_table(
        f"{command.model.model}, lambda_reg {command.fit.lambda_reg:g}{_kind(command)}: "
        "NLL in nats per token",
        ("", "ungated", "gated"),
        (
            (
                "train",
                format_number(result.nll_ungated_train),
                format_number(result.nll_gated_train),
            ),
            (
                "held-out",
                format_number(result.nll_ungated_held_out),
                format_number(result.nll_gated_held_out),
            ),
        ),
    )
    if result.metric_ungated is not None:
        say(
            f"{METRIC_WORDS[command.fit.metric].name}: {result.metric_ungated:.4f} ungated, "
            f"{result.metric_gated:.4f} gated"
        )
    say(f"gates: {result.gates.counts}")
    say(
        f"{result.updates} updates in {result.seconds:.1f} s, "
        f"{result.tokens_per_second:,.0f} tokens per second"
    )
    say(f"wrote {command.output.out}")

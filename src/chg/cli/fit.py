"""`chg fit`: load, fit, save, and a table of what came out."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from chg.cli.parsing import flat_settings
from chg.cli.terminal import format_number, print_table, require_gate_file_name, say
from chg.config import DataConfig, FitConfig, ModelConfig, ReferenceData, Reporter

if TYPE_CHECKING:
    from chg.fitting import FitResult


EXAMPLES = """\
  chg fit --model builtin:tiny --dataset builtin:icl --out gates_init.pt
  chg fit --model gpt2 --init gates_init.pt --out gates_removal.pt --lambda_reg 0.1"""


@dataclass(frozen=True)
class Output:
    """What is started from and where the gates go."""

    out: str = "gates.pt"
    """Gate file to write, .pt or .safetensors."""
    init: str | None = None
    """Gate file to start from, such as the initialisation (G0) for retention and removal."""
    report_to: Reporter = "none"
    """Experiment tracker that receives the figures of every update."""
    quiet: bool = False
    """No progress bar and no log, only results, warnings and errors."""
    config: str | None = None
    """YAML file of settings by flag name; flags override it."""


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
    from chg.cli.inputs import for_ablation, load_gates, load_inputs, load_reference
    from chg.data import load_held_out
    from chg.errors import DivergedError
    from chg.files import ensure_writable
    from chg.fitting import fit_gates
    from chg.progress import tracker

    require_gate_file_name(command.output.out)
    out = ensure_writable(command.output.out)
    init = load_gates(command.output.init)
    seed, data_config = command.fit.seed, for_ablation(command.data, command.fit.ablation)
    model, tokenizer, data = load_inputs(command.model, data_config, seed, init)
    data, held_out = load_held_out(
        data_config, data, tokenizer, rows=command.fit.eval_rows, seed=seed
    )
    reference = load_reference(command.reference, data_config, model, tokenizer, seed)
    settings = flat_settings(command)
    try:
        with tracker(command.output.report_to, settings) as report:
            result = fit_gates(
                model,
                data,
                command.fit,
                init=init,
                held_out=held_out,
                reference=reference,
                show_progress=not command.output.quiet,
                report=report,
            )
    except DivergedError as error:
        kept = out.with_name(f"{out.stem}.last_good{out.suffix}")
        replace(error.last_good[0], metadata={"diverged": str(error)}).save(kept)
        raise DivergedError(f"{error}. The gates before it are in {kept}") from error
    gates = replace(result.gates, metadata={**result.gates.metadata, "configuration": settings})
    gates.save(out)
    _print(result, command)


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
    say(f"gates: {result.gates.counts}")
    say(
        f"{result.updates} updates in {result.seconds:.1f} s, "
        f"{result.tokens_per_second:,.0f} tokens per second"
    )
    say(f"wrote {command.output.out}")

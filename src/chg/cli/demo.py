"""`chg demo`: three fits, ablation and analysis of the built-in model, told in plain words."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chg.cli.common import say

if TYPE_CHECKING:
    from chg.report import Analysis

EXAMPLES = """\
  chg demo
  chg demo --output_dir my_demo --dataset builtin:instruction"""

STAGES = {"init": 0.0, "retention": -0.1, "removal": 0.1}
"""The three fits with their lambda_reg; retention and removal start from the first."""
UPDATES = 300
BATCH_SIZE = 16
EVALUATION_ROWS = 128
SHOWN = 6


@dataclass(frozen=True)
class Output:
    """What is shown, and where everything goes."""

    output_dir: str = "demo_output"
    """Folder for gate files, results, pictures, ranking and report."""
    dataset: str = "builtin:icl"
    """Built-in task: builtin:icl, builtin:instruction, builtin:aba or builtin:copy."""
    seed: int = 42
    """Seed of the starting gates and the order of rows."""
    quiet: bool = False
    """No progress bars."""
    config: str | None = None
    """YAML file of settings by flag name; flags override it."""


@dataclass(frozen=True)
class Command:
    """Run everything on the model that ships with chg; needs no network and a minute or two."""

    output: Output = field(default_factory=Output)


def run(command: Command) -> None:
    """Fit, ablate, analyse, and say what was found."""
    from chg import AblationConfig, FitConfig, ablate_heads, analyze, fit_gates, load_data
    from chg.cli.inputs import load_checked_model
    from chg.config import ModelConfig
    from chg.files import ensure_folder

    settings, show = command.output, not command.output.quiet
    folder = ensure_folder(settings.output_dir)
    model, tokenizer = load_checked_model(ModelConfig(model="builtin:tiny"), None)
    data = load_data(settings.dataset, tokenizer)
    held_out = load_data(settings.dataset, tokenizer, split="validation", limit=EVALUATION_ROWS)
    say(f"The built-in model: {_size(model)}. The task, {settings.dataset}: {_example(held_out)}")
    fits: dict[str, Any] = {}
    for stage, lambda_reg in STAGES.items():
        config = FitConfig(
            lambda_reg=lambda_reg,
            max_steps=UPDATES,
            batch_size=BATCH_SIZE,
            seed=settings.seed,
            eval_rows=EVALUATION_ROWS,
        )
        init = fits["init"].gates if fits else None
        say(f"\nFitting gates, {stage} (lambda_reg {lambda_reg:g}) ...")
        fits[stage] = fit_gates(
            model, data, config, init=init, held_out=held_out, show_progress=show
        )
        fits[stage].gates.save(folder / f"gates_{stage}.pt")
        say(_what_a_fit_did(fits[stage]))
    say("\nAblating every head on held-out rows ...")
    ablation = AblationConfig(batch_size=EVALUATION_ROWS)
    ablate_heads(model, held_out, ablation, show_progress=show).save(
        folder / "ablation_results.json"
    )
    analysis = analyze(
        results=str(folder / "ablation_results.json"),
        gates=str(folder / "gates_init.pt"),
        gates_retention=str(folder / "gates_retention.pt"),
        gates_removal=str(folder / "gates_removal.pt"),
        output_dir=str(folder),
    )
    say(_findings(analysis))
    say(_proof(model, held_out, analysis.rankings))
    say(_where(folder))


def _size(model: Any) -> str:
    from chg.gate_wrapper import gate_shape

    layers, heads = gate_shape(model)
    weights = sum(weight.numel() for weight in model.parameters())
    return f"{layers} layers x {heads} heads, {weights / 1e6:.1f} million weights"


def _example(data: Any) -> str:
    return f"{len(data)} held-out prompts with {data.num_target_tokens} scored tokens."


def _what_a_fit_did(fit: Any) -> str:
    return (
        f"  held-out NLL {fit.nll_ungated_held_out:.3f} ungated, {fit.nll_gated_held_out:.3f} gated"
        f"; gates: {fit.gates.counts}; {fit.seconds:.0f} s"
    )


def _findings(analysis: Analysis) -> str:
    """What was found, role by role."""
    table = analysis.rankings
    lines = [f"\nWhat was found about the {len(table)} heads"]
    meanings = {
        "facilitating": "open even when pushed closed: the task needs it",
        "irrelevant": "goes wherever it is pushed: the task does not need it",
        "interfering": "closed even when pushed open: it is in the way",
        "undecided": "a gate stays in between; often half of a head is enough",
    }
    for role, meaning in meanings.items():
        chosen = table[table.role == role]
        names = ", ".join(f"L{r.layer}H{r.head}" for r in chosen.head(SHOWN).itertuples())
        more = f" and {len(chosen) - SHOWN} more" if len(chosen) > SHOWN else ""
        listed = f"\n{'':19}{names}{more}" if names else ""
        lines.append(f"  {len(chosen):2d} {role:<12}  {meaning}{listed}")
    return "\n".join(lines)


def _proof(model: Any, held_out: Any, table: Any) -> str:
    """Ablation of one head, and of whole roles at once, in sentences."""
    import torch

    from chg.evaluation import evaluate_gates
    from chg.gate_wrapper import gate_shape

    worst = table.iloc[0]
    lines = [
        "\nAblation proves it",
        f"  Without L{worst.layer}H{worst['head']} alone, the mean log-probability of the answers "
        f"falls by {-worst.score:.2f} nats per token.",
    ]
    matrices = [torch.ones(gate_shape(model))]
    for role in ("irrelevant", "facilitating"):
        heads = table[table.role == role]
        closed = matrices[0].clone()
        closed[heads.layer.tolist(), heads["head"].tolist()] = 0.0
        matrices.append(closed)
    untouched, *without = evaluate_gates(model, held_out, matrices, batch_size=EVALUATION_ROWS)
    for role, scores in zip(("irrelevant", "facilitating"), without, strict=True):
        lines.append(
            f"  Without all {role} heads together, {scores.accuracy:.0%} of the answer tokens are "
            f"right ({untouched.accuracy:.0%} with all heads)."
        )
    return "\n".join(lines)


def _where(folder: Path) -> str:
    return (
        f"\nEverything is in {folder.resolve()}:\n"
        "  role_map.png            the role of every head\n"
        "  importance_heatmap.png  what ablating each head does\n"
        "  layer_importance.png    the same by layer\n"
        "  gate_distribution.png   the gates of the three fits\n"
        "  head_rankings.csv       every head with its scores and role\n"
        "  summary_report.txt      all of it in words"
    )

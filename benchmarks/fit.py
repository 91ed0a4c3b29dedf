"""One update of a fit: chg against a plain hook with logits everywhere, in time and memory.

    python benchmarks/fit.py            # both shapes, some minutes on two cores
    python benchmarks/fit.py --quick    # two layers, under a minute

Times are CPU seconds of forward and backward of 4 rows, medians of jobs run in turns, divided by
those of one plain forward pass without gradients. Memory is the peak above the loaded model with 8
rows: of all tensors alive, counted, and of the process, resident, each in a process of its own.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from workloads import (
    in_fresh_process,
    interleaved,
    make_model,
    make_rows,
    peak_megabytes,
    plain_metric,
    plain_update,
)
from workloads import (
    options as common_options,
)

from chg.config.choices import Recompute
from chg.data.batches import collate
from chg.data.tokens import TokenData
from chg.engine import open_engine
from chg.engine.memory import LivingTensors
from chg.engine.target_scores import on_device_of
from chg.models.architectures import gate_shape

TOGETHER = 4
"""gate matrices fitted at once"""

AIMS = {("target", "1 matrix"): 1.7, ("dense", "1 matrix"): 2.2}


def our_update(
    model: nn.Module, data: TokenData, gates: Tensor, recompute: Recompute = "none"
) -> Tensor:
    """The gradient of the mean log-probability under each of `gates [fit, layer, head]`."""
    with open_engine(model, recompute=recompute) as engine:
        logprobs = engine.measure(gates, on_device_of(model, collate(data.rows, 0)))
        (gradient,) = torch.autograd.grad(logprobs.mean(1).sum(), gates)
    return gradient


def measure(shape: str, rows: str, options: argparse.Namespace) -> Table:
    """A table of times relative to one forward pass."""
    model = make_model(shape, options.device, options.dtype, quick=options.quick)
    data = make_rows(rows, options.rows, model.config.vocab_size)  # type: ignore[union-attr, arg-type]
    size = gate_shape(model)
    one = torch.full((1, *size), 0.5, device=options.device, requires_grad=True)
    many = torch.full((TOGETHER, *size), 0.5, device=options.device, requires_grad=True)
    plain_gates = torch.full(size, 0.5, device=options.device, requires_grad=True)
    error = (our_update(model, data, one)[0] - plain_update(model, data, plain_gates)).abs().max()
    scale = plain_update(model, data, plain_gates).abs().max()
    jobs = {
        "forward": lambda: plain_metric(model, data, torch.ones(size)),
        "plain hook": lambda: plain_update(model, data, plain_gates),
        "1 matrix": lambda: our_update(model, data, one),
        f"{TOGETHER} matrices": lambda: our_update(model, data, many),
        "recompute mlp": lambda: our_update(model, data, one, "mlp"),
        "recompute layer": lambda: our_update(model, data, one, "layer"),
    }
    times = interleaved(jobs, options.rounds, options.device)
    table = Table(
        title=f"{shape}, {rows}, {options.dtype}: update / forward "
        f"({times['forward']:.2f} s); gradient off by {error / scale:.0e} of its largest; MiB"
    )
    for column in ("job", "ratio", "aim", "tensors", "of plain", "resident", "of plain"):
        table.add_column(column, justify="left" if column == "job" else "right")
    used: dict[str, list[float]] = {}
    for name, value in times.items():
        if options.device == "cpu" and not options.quick and name != "forward":
            used[name] = in_fresh_process("fit.py", ["--memory_of", shape, rows, name])
        each = value / times["forward"] / (TOGETHER if "matrices" in name else 1)
        aim = AIMS.get((rows, name))
        table.add_row(
            name,
            f"{each:.2f}",
            f"{aim:g}" if aim and not options.quick else "-",
            *(
                cell
                for value, plain in zip(
                    used.get(name, ()), used.get("plain hook", ()), strict=False
                )
                for cell in (f"{value:.0f}", f"{value / plain:.2f}x")
            ),
        )
    return table


def memory(shape: str, rows: str, name: str) -> tuple[float, float]:
    """MiB of one update above the loaded model: tensors, and resident in a fresh process."""
    model = make_model(shape)
    data = make_rows(rows, 8, model.config.vocab_size)  # type: ignore[union-attr, arg-type]
    size = gate_shape(model)
    if name == "plain hook":
        gates = torch.full(size, 0.5, requires_grad=True)
        return both(model, lambda: plain_update(model, data, gates))
    fits = TOGETHER if "matrices" in name else 1
    gates = torch.full((fits, *size), 0.5, requires_grad=True)
    recompute: Recompute = "none"
    if name.startswith("recompute"):
        recompute = "mlp" if "mlp" in name else "layer"
    return both(model, lambda: our_update(model, data, gates, recompute))


def both(model: nn.Module, job: Callable[[], Tensor]) -> tuple[float, float]:
    """MiB at a job's highest: tensors, and resident."""
    resident = peak_megabytes(job)
    with LivingTensors(model) as living:
        job()
    return living.peak / 2**20, resident


def main() -> None:
    """Print the tables."""
    parser = common_options(__doc__.split("\n")[0], rows=4, rounds=3)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.memory_of:
        print(*memory(*options.memory_of))
        return
    if options.quick:
        options.rounds = 1
    for shape in options.shape or ["gpt2", "llama"]:
        for rows in ("target", "dense"):
            Console().print(measure(shape, rows, options))


if __name__ == "__main__":
    main()

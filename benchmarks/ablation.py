"""Ablating every head: chg against a plain loop of full forward passes, and against other tools.

    python benchmarks/ablation.py             # both shapes, about ten minutes on two cores
    python benchmarks/ablation.py --quick     # two layers, under a minute

Both sides run in this process, in turns; CPU seconds, medians. The plain loop costs the same for
every gate matrix: it is timed on three and scaled. chg fills passes row by row: it is timed
on `--timed_rows` of them and scaled to `--rows`, but for rows that share something.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import nn
from workloads import (
    in_fresh_process,
    interleaved,
    make_matrices,
    make_model,
    make_rows,
    peak_megabytes,
    plain_metric,
)
from workloads import (
    options as common_options,
)

from chg.data.tokens import TokenData
from chg.engine.evaluation import evaluate_gates
from chg.models.architectures import gate_shape
from chg.models.loading import load_model
from chg.models.modes import matmul_dtype

TIMED_MATRICES = 3
COUNTS = {"few_shot": 16, "ragged": 16, "short": 24}
"""Kind of rows that share something, or fill passes together -> how many there are."""


@dataclass(frozen=True)
class Job:
    """One line of the table."""

    name: str
    rows: str
    order: str = "individual"
    screening: bool = False
    at_least: dict[str, float] | None = None
    """shape -> the ratio that is aimed at"""


JOBS = (
    Job("individual, target", "target", at_least={"gpt2": 3.3, "llama": 2.9}),
    Job("individual, dense", "dense", at_least={"gpt2": 1.6, "llama": 1.6}),
    Job("individual, few-shot prefix", "few_shot", at_least={"gpt2": 8, "llama": 8}),
    Job("individual, ragged", "ragged", at_least={"gpt2": 8, "llama": 8}),
    Job("individual, short prompts", "short"),
    Job("40 scattered heads, short prompts", "short", "scattered"),
    Job("8 matrices that share nothing, short prompts", "short", "unshared"),
    Job("sequential forward, target", "target", "forward", at_least={"gpt2": 3, "llama": 3}),
    Job("sequential random, target", "target", "random", at_least={"gpt2": 3, "llama": 3}),
    Job("sequential backward, target", "target", "backward", at_least={"gpt2": 12, "llama": 12}),
    Job(
        "individual, bfloat16 screening",
        "target",
        screening=True,
        at_least={"gpt2": 8, "llama": 8},
    ),
)


def measure(model: nn.Module, shape: str, job: Job, options: argparse.Namespace) -> list[str]:
    """One line: seconds of the whole job on both sides, their ratio, the largest error."""
    shared = job.rows in COUNTS
    count = options.rows if options.quick else COUNTS.get(job.rows, options.rows)
    data = make_rows(job.rows, count, model.config.vocab_size)  # type: ignore[union-attr, arg-type]
    timed = data if shared else TokenData(data.rows[: options.timed_rows], data.name, 0)
    matrices = make_matrices(job.order, *gate_shape(model))
    every = max(1, len(matrices) // TIMED_MATRICES)
    some = matrices[::every][:TIMED_MATRICES]
    found: dict[int, float] = {}

    def plain() -> None:
        for matrix in some:
            plain_metric(model, data, matrix)

    def ours() -> None:
        scores = evaluate_gates(model, timed, matrices, controls=job.screening)
        found.update({i: one.mean_target_logprob for i, one in enumerate(scores)})

    def ours_in_its_precision() -> None:
        if not job.screening:
            ours()
            return
        with matmul_dtype(model, torch.bfloat16):
            ours()

    evaluate_gates(model, timed, matrices[:2])  # what is found out once
    plain_metric(model, data, matrices[0])
    jobs = {"plain": plain, "chg": ours_in_its_precision}
    times = interleaved(jobs, options.rounds, options.device)
    times["plain"] *= len(matrices) / len(some)
    times["chg"] *= len(data) / len(timed)
    checked = range(0, len(matrices), 1 if options.every_head else every)
    error = max(abs(found[i] - plain_metric(model, timed, matrices[i])) for i in checked)
    aim = (job.at_least or {}).get(shape)
    return [
        job.name,
        f"{times['plain']:.1f}",
        f"{times['chg']:.1f}",
        f"{times['plain'] / times['chg']:.2f}x",
        f"{aim:g}x" if aim and not options.quick else "-",
        f"{error:.1e}",
    ]


def memory(shape: str, rows: str, side: str) -> float:
    """Megabytes above the loaded model, for a fresh process."""
    model = make_model(shape)
    data = make_rows(rows, 8, model.config.vocab_size)  # type: ignore[union-attr, arg-type]
    matrices = make_matrices("individual", *gate_shape(model))
    small = TokenData(data.rows[:1], data.name, 0)
    if side == "chg":
        return peak_megabytes(lambda: evaluate_gates(model, small, matrices))
    return peak_megabytes(lambda: plain_metric(model, data, matrices[0]))


def peers(model: nn.Module, data: TokenData) -> dict[str, Callable[[], Any]]:
    """One full pass with a head closed, as the tools that are installed do it."""
    ids = torch.tensor([row.ids for row in data.rows])
    tokenizer = load_model("builtin:tiny")[1]  # any will do, and this one needs no network
    found: dict[str, Callable[[], Any]] = {}
    try:
        from transformer_lens.model_bridge import TransformerBridge
    except ImportError:
        pass
    else:
        bridge = TransformerBridge.boot_transformers(
            "gpt2", hf_model=model, tokenizer=tokenizer, device="cpu"
        )

        def close(z: torch.Tensor, hook: Any) -> torch.Tensor:  # noqa: ARG001
            z[:, :, 3] = 0
            return z

        hooks = [("blocks.1.attn.hook_z", close)]
        found["TransformerLens"] = torch.no_grad()(
            functools.partial(bridge.run_with_hooks, ids, fwd_hooks=hooks)
        )
    try:
        from nnsight import LanguageModel
    except ImportError:
        pass
    else:
        wrapped = LanguageModel(model, tokenizer=tokenizer)

        def trace() -> None:
            with torch.no_grad(), wrapped.trace(ids):
                projection = wrapped.transformer.h[1].attn.c_proj
                projection.input[:, :, 3 * 64 : 4 * 64] = 0
                wrapped.lm_head.output.save()

        found["nnsight"] = trace
    try:
        from causal_head_gating import CHG
    except ImportError:
        pass
    else:
        wrapper = CHG(model)
        masks = torch.ones(1, *gate_shape(model))
        masks[0, 1, 3] = 0
        found["nam-causal-head-gating"] = torch.no_grad()(functools.partial(wrapper, ids, masks))
    return found


def print_peers(model: nn.Module, rows: int, console: Console) -> None:
    """Times of one head by every tool that is installed."""
    data = make_rows("target", rows, model.config.vocab_size)  # type: ignore[union-attr, arg-type]
    gates = make_matrices("individual", *gate_shape(model))[1]
    tools = {"plain": lambda: plain_metric(model, data, gates), **peers(model, data)}
    for tool in tools.values():
        tool()
    times = interleaved(tools, 3)
    for name, value in times.items():
        console.print(f"one head by {name}: {value:.2f} s, {value / times['plain']:.2f}x")


def main() -> None:
    """Print the tables."""
    parser = common_options(__doc__.split("\n")[0], rows=8, rounds=1)
    parser.add_argument("--timed_rows", type=int, default=1, help="rows that chg is timed on")
    parser.add_argument("--only", help="jobs with this in their name")
    parser.add_argument("--every_head", action="store_true", help="check the error on every matrix")
    parser.add_argument("--peers", action="store_true", help="other tools, where installed (gpt2)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.memory_of:
        print(memory(*options.memory_of))
        return
    console = Console()
    for shape in options.shape or ["gpt2", "llama"]:
        model = make_model(shape, options.device, options.dtype, quick=options.quick)
        if options.quick:
            options.rows = 2
        table = Table(title=f"{shape}, {options.dtype}, {options.device}: seconds of the whole job")
        for column in ("job", "plain loop", "chg", "ratio", "aim", "largest error, nats"):
            table.add_column(column, justify="left" if column == "job" else "right")
        for job in JOBS:
            if options.only and options.only not in job.name:
                continue
            table.add_row(*measure(model, shape, job, options))
        console.print(table)
        if options.peers and shape == "gpt2":
            print_peers(model, options.rows, console)
        if not options.quick and options.device == "cpu":
            for rows in ("target", "dense"):
                used = {
                    side: in_fresh_process("ablation.py", ["--memory_of", shape, rows, side])[0]
                    for side in ("plain", "chg")
                }
                console.print(
                    f"memory above the model, {rows}: plain {used['plain']:.0f} MiB, "
                    f"chg {used['chg']:.0f} MiB, {used['chg'] / used['plain']:.2f}x (aim: 1x)"
                )


if __name__ == "__main__":
    main()

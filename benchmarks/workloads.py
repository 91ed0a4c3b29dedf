"""What is measured: model shapes with random weights, rows, gate matrices, and the plain side."""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, PretrainedConfig

from chg.data.tokens import TokenData, TokenRow
from chg.gating.gate_wrapper import gated
from chg.models.modes import frozen

LENGTH = 128
SCORED = 16
"""Last tokens of a row that are scored, where not all are."""
SCORED_OF = {"dense": LENGTH, "few_shot": 4, "ragged": SCORED // 2, "short": 1}
"""kind of rows -> another number of them"""
SCATTERED, UNSHARED = 40, 8
"""Matrices of lists that share little, and nothing."""


def _llama(layers: int, heads: int, groups: int, width: int, mlp: int, tokens: int) -> LlamaConfig:
    return LlamaConfig(
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=groups,
        hidden_size=width,
        intermediate_size=mlp,
        vocab_size=tokens,
    )


SHAPES: dict[str, Callable[[], PretrainedConfig]] = {
    "gpt2": GPT2Config,
    "llama": partial(_llama, 12, 12, 4, 768, 2048, 32_000),
    "smollm2": partial(_llama, 30, 9, 3, 576, 1536, 49_152),
    "llama-1b": partial(_llama, 16, 32, 8, 2048, 8192, 128_256),
    "llama-8b": partial(_llama, 32, 32, 8, 4096, 14_336, 128_256),
}
"""name -> shape; smollm2 is that of SmolLM2-135M, the last two are for a GPU"""


def options(purpose: str, *, rows: int, rounds: int) -> argparse.ArgumentParser:
    """The flags that all benchmarks have."""
    parser = argparse.ArgumentParser(description=purpose)
    parser.add_argument("--shape", choices=SHAPES, action="append", help="gpt2 and llama if none")
    parser.add_argument("--rows", type=int, default=rows, help=f"rows of the job (default {rows})")
    parser.add_argument("--rounds", type=int, default=rounds, help="turns; the median is shown")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--quick", action="store_true", help="two layers, few rows, few tokens")
    parser.add_argument("--memory_of", nargs=3, help=argparse.SUPPRESS)
    return parser


def make_model(
    shape: str, device: str = "cpu", dtype: str = "float32", *, quick: bool = False
) -> nn.Module:
    """A model of that shape with random weights; two layers of it, and few tokens, if quick."""
    torch.manual_seed(0)
    config = SHAPES[shape]()
    if quick:
        config.num_hidden_layers, config.vocab_size = 2, 8000
    with torch.device(device):
        model: nn.Module = AutoModelForCausalLM.from_config(config, dtype=getattr(torch, dtype))
    return model.eval()


def make_rows(kind: str, count: int, vocabulary: int) -> TokenData:
    """Rows of random tokens.

    target: the last 16 of 128 scored; dense: all; few_shot: the first 96 of 128 common to all, the
    last 4 scored; ragged: 16 scored at the end of 16 to 126 tokens, 62 on average; short: the last
    of 17 tokens scored, as in most tasks.
    """
    generator = torch.Generator().manual_seed(1)

    def draw(length: int) -> list[int]:
        return torch.randint(3, vocabulary, (length,), generator=generator).tolist()

    common = draw(96)
    spread = [16, 22, 28, 34, 40, 46, 50, 54, 58, 62, 70, 78, 86, 98, 124, 126]
    rows = []
    for i in range(count):
        length = {"ragged": spread[(i * 7 + 15) % 16], "short": 17}.get(kind, LENGTH)
        scored = SCORED_OF.get(kind, SCORED)
        ids = common + draw(32) if kind == "few_shot" else draw(length)
        rows.append(TokenRow(tuple(ids), tuple(0 < j >= length - scored for j in range(length))))
    return TokenData(tuple(rows), kind, 0)


def make_matrices(order: str, layers: int, heads: int) -> list[Tensor]:
    """The gate matrices of an ablation, the baseline first.

    scattered: some heads, each alone; unshared: matrices that differ from the first layer on.
    """
    generator = torch.Generator().manual_seed(2)
    if order == "unshared":
        return [torch.rand(layers, heads, generator=generator) for _ in range(UNSHARED)]
    places = list(range(layers * heads))
    if order == "backward":
        places.reverse()
    if order in ("random", "scattered"):
        places = torch.randperm(len(places), generator=generator).tolist()
    alone = order in ("individual", "scattered")
    matrices = [torch.ones(layers, heads)]
    for place in places[:SCATTERED] if order == "scattered" else places:
        closed = torch.ones(layers, heads) if alone else matrices[-1].clone()
        closed.view(-1)[place] = 0
        matrices.append(closed)
    return matrices


def plain_metric(model: nn.Module, data: TokenData, gates: Tensor) -> float:
    """Mean target log-probability by one plain padded pass, logits everywhere."""
    device = next(model.parameters()).device
    longest = max(len(row.ids) for row in data.rows)
    ids = torch.zeros(len(data), longest, dtype=torch.long)
    mask, scored = torch.zeros_like(ids), torch.zeros(len(data), longest, dtype=torch.bool)
    for i, row in enumerate(data.rows):
        ids[i, : len(row.ids)] = torch.tensor(row.ids)
        mask[i, : len(row.ids)] = 1
        scored[i, : len(row.ids)] = torch.tensor(row.scored)
    ids, mask, scored = ids.to(device), mask.to(device), scored.to(device)
    with torch.no_grad(), gated(model, gates.to(device), check=False):
        logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
        logprobs = logits[:, :-1].float().log_softmax(-1)
        logprobs = logprobs.gather(-1, ids[:, 1:, None])[..., 0]
        return float(logprobs[scored[:, 1:]].double().mean())


def plain_update(model: nn.Module, data: TokenData, gates: Tensor) -> Tensor:
    """The gradient of the mean target log-probability by plain hooks, logits everywhere."""
    ids = torch.tensor([row.ids for row in data.rows], device=gates.device)
    scored = torch.tensor([row.scored for row in data.rows], device=gates.device)[:, 1:]
    with frozen(model), gated(model, gates, check=False):
        logits = model(input_ids=ids, use_cache=False).logits
        logprobs = logits[:, :-1].float().log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0]
        (gradient,) = torch.autograd.grad(logprobs[scored].mean(), gates)
    return gradient


def seconds(job: Callable[[], Any], device: str = "cpu") -> float:
    """CPU seconds of a job, which other work on the machine hardly touches; wall on a GPU."""
    if device != "cpu":
        torch.cuda.synchronize()
        began = time.perf_counter()
        job()
        torch.cuda.synchronize()
        return time.perf_counter() - began
    began = time.process_time()
    job()
    return time.process_time() - began


def interleaved(
    jobs: dict[str, Callable[[], Any]], rounds: int, device: str = "cpu"
) -> dict[str, float]:
    """Median seconds of every job, run in turns."""
    times: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(rounds):
        for name, job in jobs.items():
            times[name].append(seconds(job, device))
    return {name: statistics.median(values) for name, values in times.items()}


def peak_megabytes(job: Callable[[], Any]) -> float:
    """How far a job raises this process's resident memory at its highest (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far was loading the model
    before = _resident("VmRSS")
    job()
    return (_resident("VmHWM") - before) / 1024


def _resident(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))


def in_fresh_process(script: str, arguments: Sequence[str]) -> list[float]:
    """Run a script of this folder that prints numbers, and return them."""
    command = [sys.executable, str(Path(__file__).with_name(script)), *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return [float(number) for number in done.stdout.strip().splitlines()[-1].split()]

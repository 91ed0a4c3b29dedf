"""Whether what a study says holds: intervals, redundant pairs, roles where there are none.

    python benchmarks/evidence.py                    # everything, about half an hour on two cores
    python benchmarks/evidence.py --studies 2        # a look, two minutes
    python benchmarks/evidence.py --only intervals   # one part
    python benchmarks/evidence.py --model FOLDER --dataset FILE    # redundancy over that model

Each part simulates what it claims about, on cases whose truth is known.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

import chg
from chg.ablation import close_pairs, individual_scores
from chg.config import Head
from chg.data import TokenData, TokenRow, exchange_prompts
from chg.engine import SequenceScores, evaluate_gates
from chg.report import Study
from chg.results import separation
from chg.results.intervals import SIGNIFICANT, jeffreys_interval, t_interval
from chg.results.redundancy import propose_pairs
from chg.selftest.planted import (
    DUPLICATES,
    ROLES,
    copy_rows,
    planted_model,
    redundant_model,
)

SEEDS = (2, 3, 5, 10)
DRAWS = 200_000
AREA_DRAWS, AREA_HEADS, AREA_SIZES = 2000, 40_000, (3, 6, 12, 25)
TASKS = ("icl", "instruction", "aba", "copy")
NO_ROLE = ("irrelevant", "undecided")
ROWS = 512
PAIRS_OF_NOISE = ("task", "seeds", "pairs proposed, mean", "studies that print any")
STRONGEST: Head = (0, 5)
"""Head of the built-in model whose ablation costs most on `builtin:icl`."""


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print a table."""
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column)
    for row in rows:
        table.add_row(*map(str, row))
    Console(width=110).print(table)


def intervals(_studies: int) -> None:
    """Coverage of the 95 % intervals over seeds."""
    generator = np.random.default_rng(0)
    rows = []
    for seeds in SEEDS:
        normal = t_interval(generator.normal(0, 1, (seeds, DRAWS)))
        split = t_interval(generator.beta(0.2, 0.2, (seeds, DRAWS)))
        share = generator.random(DRAWS)
        low, high = jeffreys_interval(generator.binomial(seeds, share), seeds)
        rows.append(
            (
                seeds,
                f"{_covers(normal, 0.0):.1%}",
                f"{((low <= share) & (share <= high)).mean():.1%}",
                f"{_covers(split, 0.5):.1%}",
            )
        )
    names = (
        "seeds",
        "t, normal scores",
        "Jeffreys, shares drawn uniformly",
        "t, gates near 0 or 1",
    )
    show("Coverage of 95 % intervals over seeds", names, rows)


def areas(_studies: int) -> None:
    """Coverage of the 95 % interval of an AUROC, of a few heads among 270."""
    generator = np.random.default_rng(0)
    outside = _normal(generator, 0, 1)
    cases = {
        "no difference": (_normal(generator, 0, 1), outside),
        "normal, apart by 1.5": (_normal(generator, 1.5, 1), outside),
        "gates, 75 % and 8 % open": (_gates(generator, 0.75), _gates(generator, 0.08)),
        "normal, 3 times as wide": (_normal(generator, 1, 3), outside),
    }
    rows = []
    for name, (draw, others) in cases.items():
        many = np.concatenate([draw(AREA_HEADS), others(AREA_HEADS)])
        truth = separation(many, np.arange(2 * AREA_HEADS) < AREA_HEADS).auroc
        covered = []
        for size in AREA_SIZES:
            found = [
                separation(
                    np.concatenate([draw(size), others(270 - size)]),
                    np.arange(270) < size,
                )
                for _ in range(AREA_DRAWS)
            ]
            covered.append(f"{np.mean([one.low <= truth <= one.high for one in found]):.1%}")
        rows.append((name, f"{truth:.2f}", *covered))
    sizes = (f"{size} heads" for size in AREA_SIZES)
    show("Coverage of the 95 % interval of an AUROC", ("scores", "AUROC", *sizes), rows)


def _normal(
    generator: np.random.Generator, mean: float, width: float
) -> Callable[[int], np.ndarray]:
    return lambda size: generator.normal(mean, width, size)


def _gates(generator: np.random.Generator, share: float) -> Callable[[int], np.ndarray]:
    """Gates near 0 or 1, a share of them open."""
    return lambda size: np.abs((generator.random(size) < share) - generator.beta(0.6, 8, size))


def _covers(bounds: tuple[np.ndarray, np.ndarray], truth: float) -> float:
    return float(((bounds[0] <= truth) & (truth <= bounds[1])).mean())


def redundancy(studies: int) -> None:
    """Pairs that are printed for independent random gates over the built-in model."""
    model, tokenizer = chg.load_model("builtin:tiny")
    rows = []
    for task in TASKS[:2]:
        data = chg.load_data(f"builtin:{task}", tokenizer, split="validation").sample(128, 0)
        rows += _pairs_of_noise(task, model, data, SEEDS, studies)
    show("Redundancy of independent random gates", PAIRS_OF_NOISE, rows)
    found = chg.study(
        redundant_model(), copy_rows(128), held_out=copy_rows(48, 9), seeds=6, check_seeds=0,
        show_progress=False,
    )  # fmt: skip
    show(
        f"Planted duplicates {DUPLICATES}",
        ("pair", "both closed", "either alone", "q"),
        [(p.heads, f"{p.together:+.3f}", p.alone, f"{p.q:.1g}") for p in found.redundant],
    )


def real_redundancy(name: str, dataset: str, studies: int) -> None:
    """The same over a model and 16 rows of one's own, with three seeds."""
    model, tokenizer = chg.load_model(name)
    data = chg.load_data(dataset, tokenizer, split="auto").sample(16, 0)
    rows = _pairs_of_noise(data.name, model, data, (3,), studies)
    show("Redundancy of independent random gates", PAIRS_OF_NOISE, rows)


def _pairs_of_noise(
    task: str, model: Any, data: TokenData, seeds_of: Sequence[int], studies: int
) -> list[tuple[Any, ...]]:
    """Test the pairs that independent random gates propose; a row per number of seeds."""
    exists = chg.find_head_sites(model).existing()
    layers, heads = exists.shape
    evaluate = _evaluator(model, data)
    alone = individual_scores(evaluate, "ablation", torch.ones(layers, heads), exists)
    rows = []
    for seeds in seeds_of:
        generator = np.random.default_rng(seeds)
        found = []
        for _ in range(studies):
            proposed = propose_pairs(generator.random((seeds, layers, heads)))
            pairs = close_pairs(evaluate, proposed, alone, (layers, heads))
            found.append((len(proposed), sum(pair.proven for pair in pairs)))
        proposals, proven = np.mean([f[0] for f in found]), sum(f[1] > 0 for f in found)
        rows.append((task, seeds, f"{proposals:.0f}", f"{proven} of {studies}"))
    return rows


def _evaluator(
    model: Any, data: TokenData
) -> Callable[[str, Sequence[Tensor]], list[SequenceScores]]:
    return lambda _name, matrices: evaluate_gates(model, data, matrices, batch_size=128)


def null(studies: int) -> None:
    """Roles that are given where no head matters for the targets."""
    kinds = {
        "random models": _random_model,
        "targets exchanged between rows, built-in": _exchanged,
        "decoys of planted models": _decoys,
    }
    rows = []
    for name, run in kinds.items():
        given, heads = np.sum([run(seed) for seed in range(studies)], axis=0)
        rows.append((name, studies, heads, given, f"{given / heads:.2%}"))
    names = ("null", "studies", "heads", "given a role", "false roles")
    show("Roles where no head has one", names, rows)


def _false_roles(found: Study, among: Sequence[Head] | None = None) -> tuple[int, int]:
    """Heads with a role that they should not have, and heads."""
    table = found.heads.set_index(["layer", "head"])
    roles = table.role if among is None else table.role[list(among)]
    return int((~roles.isin(NO_ROLE)).sum()), len(roles)


def _random_model(seed: int) -> tuple[int, int]:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=200, hidden_size=64, intermediate_size=128, num_hidden_layers=4,
        num_attention_heads=8, num_key_value_heads=8, max_position_embeddings=64,
    )  # fmt: skip
    generator = np.random.default_rng(seed)
    ids = generator.integers(0, 200, (ROWS, 12)).tolist()
    rows = tuple(TokenRow(tuple(row), (*[False] * 11, True)) for row in ids)
    model = LlamaForCausalLM(config).eval()
    return _false_roles(_study(model, TokenData(rows, "random", 0), seed))


def _exchanged(seed: int) -> tuple[int, int]:
    model, tokenizer = chg.load_model("builtin:tiny")
    data = chg.load_data("builtin:icl", tokenizer).sample(ROWS, seed)
    return _false_roles(_study(model, exchange_prompts(data, seed)[1], seed))


def _decoys(seed: int) -> tuple[int, int]:
    decoys = [head for head, role in ROLES.items() if role == "irrelevant"]
    return _false_roles(_planted(seed), decoys)


@cache
def _planted(seed: int) -> Study:
    return _study(planted_model(), copy_rows(ROWS, seed), seed)


def _study(model: Any, data: TokenData, seed: int) -> Study:
    found: Study = chg.study(
        model, data, seeds=3, seed=seed, eval_rows=64, check_seeds=0, show_progress=False,
    )  # fmt: skip
    return found


def planted(studies: int) -> None:
    """Roles of planted heads, in every seed."""
    right = total = 0
    for seed in range(studies):
        found = _planted(seed)
        for (layer, head), role in ROLES.items():
            right += int((found.roles[:, layer, head] == role).sum())
            total += len(found.seeds)
    rows = [(studies, total, right, f"{right / total:.2%}")]
    show("Planted roles", ("studies", "heads x seeds", "right", "share"), rows)


def builtin(_studies: int) -> None:
    """The strongest head of the built-in model, and losses that a role does not show."""
    model, tokenizer = chg.load_model("builtin:tiny")
    rows = []
    for task in TASKS:
        data = chg.load_data(f"builtin:{task}", tokenizer)
        held_out = chg.load_data(f"builtin:{task}", tokenizer, split="validation")
        found = chg.study(model, data, held_out=held_out, seeds=3, show_progress=False)
        table = found.heads
        lost = table[(table.ablation_q < SIGNIFICANT) & (table.ablation_score < -0.1)]
        hidden = lost[(lost.role == "irrelevant") & (lost.disagrees == "")]
        strongest = table.set_index(["layer", "head"]).loc[STRONGEST]
        score = f"{strongest.ablation_score:+.3f}"
        rows.append((task, score, strongest.role, len(lost), len(hidden)))
    names = ("task", "ablation of L0H5", "its role", "losses above 0.1", "irrelevant, not listed")
    show("The built-in model", names, rows)


PARTS: dict[str, Callable[[int], None]] = {
    "intervals": intervals,
    "areas": areas,
    "redundancy": redundancy,
    "null": null,
    "planted": planted,
    "builtin": builtin,
}


def main() -> None:
    """Run the parts that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=20, help="studies of each kind")
    parser.add_argument("--only", choices=PARTS, action="append", help="a part; may be repeated")
    parser.add_argument("--model", help="redundancy over this model, and nothing else")
    parser.add_argument("--dataset", help="rows for it")
    options = parser.parse_args()
    logging.getLogger("chg").setLevel(logging.ERROR)  # null models do no task, and studies say so
    if options.model:
        real_redundancy(options.model, options.dataset, options.studies)
        return
    for name in options.only or PARTS:
        PARTS[name](options.studies)


if __name__ == "__main__":
    main()

"""Heads replaced by their mean or by another row's, against one plain hooked pass per row."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import chg
from chg import HeadGates, ablate_heads, fit_contrastive, fit_gates
from chg.cli.main import main
from chg.config.choices import AblationKind
from chg.config.fitting import ContrastConfig
from chg.data.batches import collate, pack_shared_prefix
from chg.data.partners import with_partners
from chg.data.tokens import TokenData, TokenRow
from chg.engine.capabilities import capabilities
from chg.engine.engine import logprobs_of_fits, partial_forward
from chg.engine.evaluation import evaluate_gates
from chg.errors import ConfigError, DataError, GateError
from chg.fitting.optimizer import starting_logits
from chg.gating.gate_wrapper import gated
from chg.gating.references import Reference, make_reference
from chg.models.architectures import find_head_sites
from chg.models.modes import frozen
from chg.selftest.planted import copy_rows, planted_model
from test_ablation import ragged_data
from test_architectures import build
from test_engine import few_shot
from tiny_models import FAMILIES, HEADS, LAYERS, compute_in_float64, make_model

KINDS: list[tuple[AblationKind, bool]] = [("mean", False), ("mean", True), ("resample", False)]
MODELS = ["gpt2", "llama_grouped", "gpt_neox", "lfm2_moe", "bloom", "shared", "hrm_text"]
"""Plain and grouped heads, attention beside the MLP, layers without heads, passes that start at
the beginning of layers, a projection that layers share, and layers that run in turns."""
REFUSED = ("hrm_text", "resample")
"""heads that are used several times in a pass"""


def make(name: str) -> nn.Module:
    if name == "shared":
        model = compute_in_float64(build("llama"))  # type: ignore[arg-type]
        layers = model.model.layers
        layers[2].self_attn = layers[0].self_attn
        return model
    return compute_in_float64(make_model(name)) if name in FAMILIES else build(name)


def taken(model: nn.Module, ids: tuple[int, ...]) -> dict[int, Tensor]:
    """`[use, pos, width]` by layer: what enters every projection, in one pass over one row."""
    sites, found, handles = find_head_sites(model), {}, []
    owners: dict[nn.Module, list[int]] = {}
    for site in sites:
        owners.setdefault(site.projection, []).append(site.layer)
    for projection, layers in owners.items():
        seen: list[Tensor] = []
        found[tuple(layers)] = seen
        handles.append(
            projection.register_forward_pre_hook(lambda _m, args, to=seen: to.append(args[0][0]))
        )
    with torch.no_grad():
        model(input_ids=torch.tensor([ids]), use_cache=False)
    for handle in handles:
        handle.remove()
    return {
        layer: torch.stack(seen[k :: len(layers)])
        for layers, seen in found.items()
        for k, layer in enumerate(layers)
    }


def by_hand(
    model: nn.Module, data: TokenData, kind: AblationKind, per_position: bool
) -> list[dict[int, Tensor]]:
    """`[pos, width]` by layer, for every row: what stands in for its heads."""
    if kind == "resample":
        elsewhere = [taken(model, row.reference_ids or ()) for row in data.rows]
        return [
            {
                layer: torch.stack(
                    [heads[0][min(j, heads.shape[1] - 1)] for j in range(len(row.ids))]
                )
                for layer, heads in found.items()
            }
            for row, found in zip(data.rows, elsewhere, strict=True)
        ]
    every = [taken(model, row.ids) for row in data.rows]
    mean = {
        layer: torch.cat([row[layer].flatten(0, 1) for row in every]).mean(0) for layer in every[0]
    }

    def at(layer: int, j: int) -> Tensor:
        those = [row[layer][:, j] for row in every if row[layer].shape[1] > j]
        return torch.cat(those).mean(0) if per_position else mean[layer]

    return [
        {layer: torch.stack([at(layer, j) for j in range(len(row.ids))]) for layer in mean}
        for row in data.rows
    ]


@torch.no_grad()
def plain(
    model: nn.Module, data: TokenData, references: list[dict[int, Tensor]], gates: Tensor
) -> np.ndarray:
    """`[row]`: summed target log-probabilities, one pass per row with slices replaced by hand."""
    sums = []
    owners: dict[nn.Module, list[int]] = {}
    heads_of = {site.layer: (site.num_heads, site.head_dim) for site in find_head_sites(model)}
    for site in find_head_sites(model):
        owners.setdefault(site.projection, []).append(site.layer)
    for row, reference in zip(data.rows, references, strict=True):
        handles = []
        for projection, layers in owners.items():
            uses = [0]

            def replace(_m, args, of=layers, uses=uses, reference=reference):  # type: ignore[no-untyped-def]
                layer = of[uses[0] % len(of)]
                uses[0] += 1
                count, width = heads_of[layer]
                heads = args[0].clone()
                for h in range(count):
                    own = slice(h * width, (h + 1) * width)
                    gate = float(gates[layer, h])
                    if gate != 1:
                        heads[0, :, own] *= gate
                        heads[0, :, own] += (1 - gate) * reference[layer][:, own]
                return (heads,)

            handles.append(projection.register_forward_pre_hook(replace))
        logprobs = model(input_ids=torch.tensor([row.ids]), use_cache=False).logits[0]
        for handle in handles:
            handle.remove()
        logprobs = logprobs.double().log_softmax(-1)
        targets = [logprobs[j - 1, t] for j, t in enumerate(row.ids) if row.scored[j]]
        sums.append(float(torch.stack(targets).sum()))
    return np.array(sums)


def one_head_out(model: nn.Module) -> list[Tensor]:
    exists = find_head_sites(model).existing()
    matrices = [exists.float()]
    for layer, head in exists.nonzero().tolist():
        matrices.append(exists.float())
        matrices[-1][layer, head] = 0
    return matrices


def prepared(kind: AblationKind) -> TokenData:
    return with_partners(ragged_data(), 0) if kind == "resample" else ragged_data()


@pytest.mark.parametrize(
    ("name", "kind", "per_position"),
    [(name, *kind) for name in MODELS for kind in KINDS if (name, kind[0]) != REFUSED],
)
def test_every_head_replaced_alone(name: str, kind: AblationKind, per_position: bool) -> None:
    model, data = make(name), prepared(kind)
    reference = make_reference(model, data, kind, per_position=per_position)
    expected = by_hand(model, data, kind, per_position)
    soft = torch.rand(find_head_sites(model).shape, generator=torch.Generator().manual_seed(0))
    matrices = [*one_head_out(model), soft, torch.zeros_like(soft)]
    if name not in FAMILIES:
        matrices = [*matrices[:4], *matrices[-3:]]
    by_row = np.array([plain(model, data, expected, gates) for gates in matrices])
    # Of rows of 3 to 11 tokens, a small slab repeats some rows and not others.
    for slab in (7, 10_000):
        scores = evaluate_gates(model, data, matrices, reference=reference, slab=slab)
        assert np.abs(np.array([s.logprob_sums for s in scores]) - by_row).max() < 1e-9
    zero = evaluate_gates(model, data, matrices[-2:])
    assert abs(zero[0].mean_target_logprob - scores[-2].mean_target_logprob) > 1e-6


def test_what_the_models_are_there_for() -> None:
    modes = [capabilities(make(name)).mode for name in MODELS]
    assert modes == ["inside"] * 4 + ["layers"] + ["whole"] * 2


@pytest.mark.parametrize(("kind", "per_position"), KINDS)
def test_heads_out_one_after_another(kind: AblationKind, per_position: bool) -> None:
    model, rows = make("llama_grouped"), ragged_data()
    gates = HeadGates(torch.randn(LAYERS, HEADS, generator=torch.Generator().manual_seed(0)))
    result = ablate_heads(
        model,
        rows,
        mode="sequential",
        ablation_order="backward",
        ablation=kind,
        per_position=per_position,
        gates=gates,
        show_progress=False,
    )
    data = with_partners(rows, 42) if kind == "resample" else rows
    expected, left = by_hand(model, data, kind, per_position), gates.values.clone()
    for step in result.steps:
        left[step.layer, step.head] = 0
        metric = plain(model, data, expected, left).sum() / data.num_target_tokens
        assert abs(step.metric - metric) < 1e-9
    assert result.ablation == kind
    assert result.metadata["data_fingerprint"] == data.fingerprint


@pytest.mark.parametrize(("kind", "per_position"), KINDS)
@pytest.mark.parametrize("mode", ["individual", "estimate"])
def test_every_mode_takes_every_kind(mode: str, kind: AblationKind, per_position: bool) -> None:
    settings = {"ablation": kind, "per_position": per_position, "unit": "kv_group"}
    model, data = make("llama_grouped"), ragged_data()
    exact = ablate_heads(model, data, show_progress=False, **settings)
    if mode == "estimate":
        found = ablate_heads(model, data, mode=mode, confirm=2, show_progress=False, **settings)
        assert found.exact.all()
    else:
        model = make_model("llama_grouped")
        found = ablate_heads(model, data, screening=True, show_progress=False, **settings)
    assert found.shape == (LAYERS, 2)
    assert np.abs(found.scores - exact.scores).max() < (1e-5 if mode == "estimate" else 0.02)


@pytest.mark.parametrize(("kind", "per_position"), KINDS)
def test_open_gates_change_nothing_bit_for_bit(kind: AblationKind, per_position: bool) -> None:
    for dtype in (torch.float32, torch.bfloat16):
        model, data = make_model("gpt2").to(dtype), prepared(kind)
        batch, ones = collate(data.rows, 0), torch.ones(LAYERS, HEADS)
        reference = make_reference(model, data, kind, per_position=per_position)
        assert reference is not None
        with torch.no_grad():
            before = model(**batch.inputs).logits
            with gated(model, ones, reference=reference.of(model, batch)):
                assert torch.equal(model(**batch.inputs).logits, before)
        found, ungated = (
            evaluate_gates(model, data, [ones], reference=fill)[0] for fill in (reference, None)
        )
        if kind == "mean":  # resampled rows go into other batches
            assert np.array_equal(found.logprob_sums, ungated.logprob_sums)


@pytest.mark.parametrize(("kind", "per_position"), KINDS)
@pytest.mark.parametrize("with_engine", [True, False])
def test_the_gradient_of_a_fit(kind: AblationKind, per_position: bool, with_engine: bool) -> None:
    model, data = make("gpt2"), prepared(kind)
    batch = collate(data.rows, 0)
    reference = make_reference(model, data, kind, per_position=per_position)
    gates = torch.rand(2, LAYERS, HEADS, generator=torch.Generator().manual_seed(1)).double()
    gates.requires_grad_()

    with frozen(model), partial_forward(model) as forward:

        def loss(values: Tensor) -> Tensor:
            used = forward if with_engine else None
            return -logprobs_of_fits(model, values, batch, used, reference).mean()

        loss(gates).backward()
        assert gates.grad is not None
        for index in [(0, 0, 1), (1, 0, 0), (1, 1, 3)]:
            nudge = torch.zeros_like(gates)
            nudge[index] = 1e-5
            with torch.no_grad():
                slope = (loss(gates + nudge) - loss(gates - nudge)) / 2e-5
            assert abs(float(slope - gates.grad[index])) < 1e-8


def test_rows_that_share_a_beginning_have_its_means_too() -> None:
    model, data = make("gpt2"), few_shot()
    assert capabilities(model).max_shared_length
    reference = make_reference(model, data, "mean", per_position=True)
    expected = by_hand(model, data, "mean", True)
    for gates, score in zip(
        one_head_out(model),
        evaluate_gates(model, data, one_head_out(model), reference=reference),
        strict=True,
    ):
        assert np.abs(score.logprob_sums - plain(model, data, expected, gates)).max() < 1e-9
    assert pack_shared_prefix(with_partners(data, 0).rows[:2], 12).reference_ids is None


def test_positions_that_the_reference_rows_lack_take_the_mean_of_all() -> None:
    model, data = make("gpt2"), ragged_data()
    short = data.select([0, 1])
    reference = make_reference(model, short, "mean", per_position=True)
    assert reference is not None
    found = reference.of(model, collate(data.rows, 0))
    heads = [taken(model, row.ids)[1][0] for row in short.rows]
    assert found[1].shape == (1, 11, 32)
    assert (found[1][0, 7] - torch.cat(heads).mean(0)).abs().max() < 1e-12
    assert (found[1][0, 4] - heads[1][4]).abs().max() < 1e-12


def constant_heads() -> nn.Module:
    """A GPT-2 whose values are their bias, whatever is attended to."""
    model = make("gpt2")
    with torch.no_grad():
        for block in model.transformer.h:  # type: ignore[union-attr, operator]
            block.attn.c_attn.weight[:, 64:] = 0
            block.attn.c_attn.bias[64:] = torch.linspace(-1, 1, 32)
    return model


@pytest.mark.parametrize(("kind", "per_position"), KINDS)
def test_nobody_misses_heads_that_say_the_same_everywhere(
    kind: AblationKind, per_position: bool
) -> None:
    model, data = constant_heads(), ragged_data()
    settings = {"ablation": kind, "per_position": per_position, "show_progress": False}
    for mode in ("individual", "sequential", "estimate"):
        result = ablate_heads(model, data, mode=mode, **settings)
        assert np.nanmax(np.abs(result.scores)) < 1e-12
        zero = ablate_heads(model, data, mode=mode, show_progress=False)
        assert np.nanmax(np.abs(zero.scores)) > 1e-3
    how = {"max_steps": 4, "batch_size": len(data), "lambda_reg": 0.5, **settings}
    fit = fit_gates(model, data, held_out=data, **how)
    assert np.ptp(fit.losses) < 1e-6
    assert fit.nll_gated_train == pytest.approx(fit.nll_ungated_train, abs=1e-9)
    assert fit.nll_gated_held_out == pytest.approx(fit.nll_ungated_held_out, abs=1e-9)
    sides = {"held_out_retain": data, "held_out_forget": few_shot()}
    contrast = fit_contrastive(
        model, data, few_shot(), **sides, **{**how, "lambda_reg": 0.0, "starts": 1}
    )
    start = starting_logits(ContrastConfig(), (LAYERS, HEADS))[0]
    assert torch.allclose(contrast.gates.logits, start, atol=1e-4)  # nothing to gain anywhere
    for side in (contrast.retain, contrast.forget):
        assert side.nll_after == pytest.approx(side.nll_before, abs=1e-9)


def test_a_mean_goes_with_any_pass() -> None:
    model, data = make_model("llama"), ragged_data()
    reference = make_reference(model, data, "mean")
    assert reference is not None
    prompt = torch.tensor([data.rows[3].ids])
    closed = torch.zeros(LAYERS, HEADS)
    with gated(model, closed, reference=reference.everywhere):
        grown = model.generate(prompt, max_new_tokens=4, do_sample=False, use_cache=True)
        again = model(grown[:, :-1]).logits[0, -4:].argmax(-1)
    assert grown[0, -4:].tolist() == again.tolist()
    batch = collate(data.rows, 0)
    by_position = make_reference(model, data, "mean", per_position=True)
    assert by_position is not None
    with (
        gated(model, closed, reference=by_position.of(model, batch)),
        pytest.raises(GateError, match="1 rows of 11 positions, this pass has 1 of 9"),
    ):
        model(prompt)
    with pytest.raises(GateError, match="fits no other pass"):
        _ = by_position.everywhere
    assert not any(module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize("kind", ["mean", "resample"])
def test_under_gates_of_the_users_own(kind: AblationKind) -> None:
    """The engine and plain passes agree on which acts first."""
    model, data = make("gpt2"), prepared(kind)
    batch, outer = collate(data.rows, 0), torch.full((LAYERS, HEADS), 0.5)
    gates = torch.full((1, LAYERS, HEADS), 0.3)
    with gated(model, outer), torch.no_grad(), partial_forward(model) as forward:
        reference = make_reference(model, data, kind)
        parts, whole = (
            logprobs_of_fits(model, gates, batch, how, reference) for how in (forward, None)
        )
    assert (parts - whole).abs().max() < 1e-9


def test_partners_are_other_rows_of_the_nearest_length() -> None:
    def row(*ids: int) -> TokenRow:
        return TokenRow(ids, (False, *[True] * (len(ids) - 1)))

    lengths = [4] * 6 + [2, 9, 10]
    rows = tuple(row(*range(10 * i, 10 * i + n)) for i, n in enumerate(lengths))
    data = TokenData(rows, "rows", 0)
    partners = with_partners(data, 3)
    assert partners == with_partners(data, 3)
    assert with_partners(data, 3) != with_partners(data, 4)
    assert partners.fingerprint != data.fingerprint
    assert with_partners(partners, 5) is partners
    drawn = [len(one.reference_ids or ()) for one in partners.rows]
    assert drawn == [4] * 6 + [4, 10, 9]
    assert all(one.reference_ids != one.ids for one in partners.rows)
    elsewhere = with_partners(data.select([0]), 0, among=data.select([6, 8]))
    assert elsewhere.rows[0].reference_ids == rows[6].ids
    with pytest.raises(DataError, match="single row"):
        with_partners(data.select([0]), 0)


@pytest.mark.parametrize(("kind", "per_position"), KINDS)
def test_fits_and_contrasts(kind: AblationKind, per_position: bool, tmp_path: Path) -> None:
    model, data = planted_model(), copy_rows(32)
    held_out = copy_rows(8, seed=1)
    settings = {"ablation": kind, "per_position": per_position, "show_progress": False}
    fit = fit_gates(model, data, held_out=held_out, max_steps=40, lambda_reg=0.1, **settings)
    gates = HeadGates.load(fit.gates.save(tmp_path / "gates.pt"))
    assert gates.metadata["ablation"] == kind
    values = gates.values
    assert values[0, 0] > values[0, 1]  # a head that helps, and one that does nothing
    assert fit.nll_gated_held_out is not None
    sides = {"held_out_retain": held_out, "held_out_forget": held_out}
    contrast = fit_contrastive(model, data, copy_rows(32, seed=2), max_steps=3, **sides, **settings)
    assert contrast.gates.metadata["ablation"] == kind


def test_other_rows_for_reference(caplog: pytest.LogCaptureFixture) -> None:
    model, data = make("gpt2"), ragged_data()
    other = TokenData(tuple(reversed(few_shot().rows)), "other", 0)
    found = ablate_heads(model, data, ablation="mean", reference=other, show_progress=False)
    expected = make_reference(model, other, "mean")
    (score,) = evaluate_gates(model, data, [one_head_out(model)[1]], reference=expected)
    assert found.scores[0, 0] + found.baseline == pytest.approx(score.mean_target_logprob)
    assert found.metadata["reference_dataset"] == "other"
    drawn = ablate_heads(model, data, ablation="resample", reference=other, show_progress=False)
    assert drawn.metadata["data_fingerprint"] == with_partners(data, 42, other).fingerprint
    gates = HeadGates(torch.zeros(LAYERS, HEADS), {"ablation": "mean"})
    ablate_heads(model, data, gates=gates, show_progress=False)
    assert "fitted with --ablation mean, not zero" in caplog.text


def test_what_is_refused() -> None:
    model, data = make("gpt2"), ragged_data()
    with pytest.raises(ConfigError, match="belongs to --ablation mean, not zero"):
        ablate_heads(model, data, per_position=True)
    with pytest.raises(ConfigError, match="belongs to --ablation mean, not resample"):
        make_reference(model, data, "resample", per_position=True)
    with pytest.raises(ConfigError, match="mean or resample, not zero"):
        ablate_heads(model, data, reference=data)
    with pytest.raises(DataError, match="with_partners"):
        make_reference(model, data, "resample")
    with pytest.raises(DataError, match="with_partners"):
        evaluate_gates(model, data, [torch.ones(2, 4)], reference=Reference("resample"))
    with pytest.raises(DataError, match="single row"):
        ablate_heads(model, ragged_data(1), ablation="resample")
    with pytest.raises(GateError, match="reference of layer 1 must be"):
        gated(model, torch.ones(2, 4), reference={0: torch.zeros(1, 1, 32)}).__enter__()
    with pytest.raises(GateError, match="times in a pass"):
        ablate_heads(make("hrm_text"), data, ablation="resample")
    assert make_reference(model, data, "zero") is None


def write_rows(path: Path, **columns: list[str]) -> None:
    rows = [
        dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_corrupted_prompts_end_to_end(
    hub: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.chdir(tmp_path)
    prompts = ["The cat sat on the", "The river is called", "Some heads copy what", "In the year"]
    corrupted = ["The mat sat on the", "The city is called", "Others copy what", "In 1900 the"]
    targets = ["mat", "projection", "came", "city"]
    write_rows(Path("rows.jsonl"), prompt=prompts, target=targets, corrupted=corrupted)
    flags = ["--model", str(hub / "gpt2"), "--dataset", "rows.jsonl", "--quiet"]
    resample = ["ablate", *flags, "--ablation", "resample", "--dtype", "float64"]
    assert main([*resample, "--output", "named.json", "--corrupted_column", "corrupted"]) == 0
    assert main([*resample, "--output", "found.json"]) == 0
    assert "replaced by its output in another row" in capsys.readouterr().out
    named, result = (chg.AblationResult.load(name) for name in ("named.json", "found.json"))
    assert np.array_equal(named.scores, result.scores)

    model, tokenizer = chg.load_model(str(hub / "gpt2"), dtype="float64")
    pairs = list(zip(prompts, targets, strict=True))
    other = list(zip(corrupted, targets, strict=True))
    clean, counterfactual = (
        chg.tokenize_pairs(p, tokenizer, max_length=99) for p in (pairs, other)
    )
    rows = [
        TokenRow(row.ids, row.scored, reference.ids)
        for row, reference in zip(clean.rows, counterfactual.rows, strict=True)
    ]
    shifted = sum(len(row.ids) != len(row.reference_ids or ()) for row in rows)
    assert 0 < shifted < len(rows)
    assert f"in {shifted} rows the target begins at another position" in caplog.text
    data = TokenData(tuple(rows), "by hand", 0)
    expected = by_hand(model, data, "resample", False)
    sums = [plain(model, data, expected, gates).sum() for gates in one_head_out(model)]
    by_head = (np.array(sums[1:]) - sums[0]) / data.num_target_tokens
    assert np.abs(result.scores.ravel() - by_head).max() < 1e-9
    assert result.metadata["data_fingerprint"] == data.fingerprint

    assert main(["analyze", "--results", "found.json", "--output_dir", "report"]) == 0
    assert "not by zero" in Path("report/summary_report.txt").read_text()
    assert ",resample" in Path("report/head_rankings.csv").read_text()


def test_the_command_line(
    hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    logging.getLogger("chg").setLevel(logging.WARNING)
    write_rows(Path("rows.jsonl"), prompt=["A gate", "The cat"], target=["of", "sat"])
    write_rows(Path("text.jsonl"), text=["The river is called the Seine."] * 3)
    flags = ["--model", str(hub / "gpt2"), "--dataset", "rows.jsonl", "--quiet"]
    mean = ["--ablation", "mean", "--reference_dataset", "text.jsonl"]
    assert main(["ablate", *flags, *mean, "--per_position"]) == 0
    result = chg.AblationResult.load("ablation_results.json")
    assert (result.ablation, result.metadata["reference_dataset"]) == ("mean", "text.jsonl:train")
    assert main(["fit", *flags, *mean, "--max_steps", "2"]) == 0
    gates = HeadGates.load("gates.pt")
    assert gates.metadata["reference_dataset"] == "text.jsonl:train"
    capsys.readouterr()
    for arguments, message in (
        (["--corrupted_column", "x"], "--corrupted_column belongs to --ablation resample"),
        (["--ablation", "resample", "--corrupted_column", "x"], "no column 'x'"),
        (["--ablation", "mean", "--reference_dataset", "no.jsonl"], "no.jsonl does not exist"),
        (["--ablation", "average"], "--ablation"),
        (["--reference_dataset", "text.jsonl"], "mean or resample, not zero"),
    ):
        assert main(["ablate", *flags, *arguments]) == 2
        assert message in capsys.readouterr().err
    text = ["--dataset", "text.jsonl", "--ablation", "resample", "--corrupted_column", "x"]
    assert main(["ablate", *flags, *text]) == 2
    assert "plain text" in capsys.readouterr().err

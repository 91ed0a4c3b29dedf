"""Attention patterns: known heads, attention by hand, values that give the weights away."""

from __future__ import annotations

import copy
import threading
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import chg
from chg.engine.patterns import _repeated_rows
from chg.errors import ConfigError, ModelError
from chg.models.architectures import find_head_sites
from chg.models.heads import HeadSite
from chg.results.patterns import PATTERNS
from support.decoders import build
from support.gates import hooks
from support.odd_model import Odd
from support.pattern_model import DUPLICATE, INDUCTION, PREVIOUS, pattern_model
from support.tiny_models import FAMILIES, make_model

KNOWN = dict(zip(PATTERNS, (PREVIOUS, DUPLICATE, INDUCTION), strict=True))
PROBED = ["llama_grouped", "opt", "qwen3", "phi"]
"""Families whose values come from a projection of their own."""
SPECIAL = ["gemma2", "gemma3_text", "cohere2", "gemma3", "jamba"]
"""Soft caps, sliding windows, layers without heads, a model of pictures."""


def measure(model: nn.Module, **settings: Any) -> chg.AttentionPatterns:
    return chg.attention_patterns(model, show_progress=False, **settings)


def test_planted_heads_look_where_they_were_told_to() -> None:
    found = measure(pattern_model())
    assert (found.rows, found.length) == (16, 7)
    for name, head in KNOWN.items():
        scores = found.by_name[name]
        assert scores[head] > 0.99, name
        others = np.delete(scores.ravel(), 4 * head[0] + head[1])
        assert others.max() < 0.3, name
    # A head that looks everywhere alike gives each of the tokens so far the same share.
    so_far = {"previous_token": range(3, 16), "duplicate_token": range(9, 16)}
    for name, counts in so_far.items():
        expected = np.mean([1 / count for count in counts])
        assert found.by_name[name][0, 3] == pytest.approx(expected), name
    assert "previous-token L0H0 1.00, duplicate-token L0H1 1.00, induction L1H2 1.00" in repr(found)


def test_the_built_in_model_copies_its_own_words_by_induction() -> None:
    """And no others (docs/builtin.md)."""
    model, tokenizer = chg.load_model("builtin:tiny")
    rows = chg.load_data("builtin:copy", tokenizer).rows
    words = sorted({token for row in rows for token in row.ids[1:]})[:12]
    found = measure(model, tokens=words)
    assert found.length == 12
    assert found.previous_token[0, 5] > 0.9
    assert found.induction.argmax() == 8 + 6
    assert found.induction[1, 6] > 0.95
    assert found.induction[[0, 2, 3]].max() < 0.3
    assert measure(model).induction.max() < 0.3


def scores_of(weights: Tensor, start: int, length: int) -> NDArray[np.float64]:
    """The three scores from maps `[row, head, query, key]`, position by position."""
    found = []
    for head in weights.double().mean(0):
        again = range(start + length, start + 2 * length)
        found.append(
            [
                np.mean([head[i, i - 1] for i in range(start + 1, start + 2 * length)]),
                np.mean([head[i, i - length] for i in again]),
                np.mean([head[i, i - length + 1] for i in again]),
            ]
        )
    return np.array(found).T


@pytest.mark.parametrize("begin", [0, None])
@pytest.mark.parametrize("family", ["gpt2", "llama_grouped"])
def test_scores_are_those_of_attention_computed_by_hand(family: str, begin: int | None) -> None:
    model = make_model(family, bos_token_id=begin).double()
    rows = _repeated_rows(model, None, 0)
    assert rows.ids.shape == (16, 2 * rows.length + rows.start)
    assert rows.start == (begin == 0)
    entering: dict[int, Tensor] = {}
    sites = find_head_sites(model)
    handles = [
        site.attention.register_forward_pre_hook(
            lambda _module, args, settings, layer=site.layer: entering.update(
                {layer: args[0] if args else settings["hidden_states"]}
            ),
            with_kwargs=True,
        )
        for site in sites
    ]
    with torch.no_grad():
        model(rows.ids)
        for handle in handles:
            handle.remove()
        found = measure(model)
        for site in sites:
            weights = BY_HAND[family](site, entering[site.layer])
            expected = scores_of(weights, rows.start, rows.length)
            for name, scores in zip(PATTERNS, expected, strict=True):
                assert found.by_name[name][site.layer] == pytest.approx(scores, abs=1e-6)


def _gpt2(site: HeadSite, hidden: Tensor) -> Tensor:
    attention: Any = site.attention
    query, key, _ = (hidden @ attention.c_attn.weight + attention.c_attn.bias).chunk(3, dim=-1)
    return _softmax(site.per_head(query), site.per_head(key))


def _llama(site: HeadSite, hidden: Tensor) -> Tensor:
    attention: Any = site.attention
    query, key = (
        (hidden @ projection.weight.T).unflatten(-1, (-1, site.head_dim))
        for projection in (attention.q_proj, attention.k_proj)
    )
    half = site.head_dim // 2
    speeds = 10000.0 ** (-torch.arange(half, dtype=torch.float64) / half)
    angles = torch.arange(hidden.shape[1], dtype=torch.float64)[:, None, None] * speeds
    turn = torch.polar(torch.ones_like(angles), angles)
    rotated = []
    for value in (query, key):
        turned = torch.complex(value[..., :half], value[..., half:]) * turn
        rotated.append(torch.cat([turned.real, turned.imag], dim=-1))
    groups = site.num_heads // site.num_kv_heads
    return _softmax(rotated[0], rotated[1].repeat_interleave(groups, dim=2))


def _softmax(query: Tensor, key: Tensor) -> Tensor:
    scores = torch.einsum("rqhd,rkhd->rhqk", query, key) / query.shape[-1] ** 0.5
    return scores.masked_fill(torch.ones_like(scores).triu(1) > 0, -torch.inf).softmax(-1)


BY_HAND = {"gpt2": _gpt2, "llama_grouped": _llama}


@pytest.mark.parametrize("family", [*PROBED, *SPECIAL])
def test_scores_are_those_that_planted_values_give_away(family: str) -> None:
    """Values that say where they stand come out of a head as its weights, on any kernel."""
    model = make_model(family).double() if family in PROBED else build(family)
    rows, found, sites = _repeated_rows(model, None, 0), measure(model), find_head_sites(model)
    assert np.isnan(found.induction).tolist() == (~sites.existing()).tolist()
    for site in sites:
        expected = scores_of(_probe(model, site, rows.ids), rows.start, rows.length)
        for name, scores in zip(PATTERNS, expected, strict=True):
            measured = found.by_name[name][site.layer, : site.num_heads]
            assert measured == pytest.approx(scores, abs=1e-5), (name, site.layer)


def _probe(model: nn.Module, site: HeadSite, ids: Tensor) -> Tensor:
    """Attention of a layer's heads, `[row, head, query, key]`, as many keys as fit at a time."""
    length, width, parts = ids.shape[1], site.head_dim, []
    for start in range(0, length, width):
        place = torch.eye(length, dtype=torch.float64)[:, start : start + width]
        values = torch.zeros(length, width, dtype=torch.float64)
        values[:, : place.shape[1]] = place
        planted = values.repeat(len(ids), 1, site.num_kv_heads)
        seen: list[Tensor] = []
        handles = [
            site.attention.v_proj.register_forward_hook(lambda *_, planted=planted: planted),
            site.projection.register_forward_pre_hook(
                lambda _, args, seen=seen: seen.append(args[0])
            ),
        ]
        with torch.no_grad():
            model(ids, use_cache=False)
        for handle in handles:
            handle.remove()
        parts.append(site.per_head(seen[0])[..., : place.shape[1]].transpose(1, 2))
    return torch.cat(parts, dim=-1)


def test_layers_that_share_an_attention_take_turns() -> None:
    shared = make_model("llama_grouped", num_hidden_layers=3)
    layers: Any = shared.model.layers
    layers[2].self_attn = layers[0].self_attn
    apart = copy.deepcopy(shared)
    apart.model.layers[2].self_attn = copy.deepcopy(apart.model.layers[2].self_attn)
    found, expected = measure(shared), measure(apart)
    for name in PATTERNS:
        assert found.by_name[name] == pytest.approx(expected.by_name[name])
    assert not np.allclose(found.induction[0], found.induction[2])


def test_of_a_group_counts_the_strongest_head() -> None:
    model = make_model("llama_grouped")
    heads, groups = measure(model), measure(model, unit="kv_group")
    for name in PATTERNS:
        expected = heads.by_name[name].reshape(2, 2, 2).max(axis=-1)
        assert np.array_equal(groups.by_name[name], expected)


def test_the_same_seed_gives_the_same_scores_in_any_state_of_torch() -> None:
    model = make_model("llama_grouped")
    found = measure(model)
    state = torch.get_rng_state()
    torch.set_default_dtype(torch.float64)
    try:
        again = measure(model)
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(torch.get_rng_state(), state)
    assert np.array_equal(found.induction, again.induction)
    assert not np.array_equal(found.induction, measure(model, seed=1).induction)


def attention_of(model: nn.Module) -> list[str]:
    """Implementations of attention that the configurations of a model name."""
    configs = [module.config for module in model.modules() if hasattr(module, "config")]
    return [config._attn_implementation for config in configs]  # type: ignore[union-attr]


@pytest.mark.parametrize("fails", [False, True])
def test_the_model_is_left_as_it_was(fails: bool) -> None:
    model = build("gemma3")
    model.config.text_config._attn_implementation = "sdpa"  # type: ignore[union-attr]
    model.config.vision_config._attn_implementation = "eager"  # type: ignore[union-attr]
    model.train()
    before = attention_of(model)
    assert {"sdpa", "eager"} == set(before)
    if fails:
        failing = find_head_sites(model)[2].projection.register_forward_hook(lambda *_: 1 / 0)
        with pytest.raises(ModelError, match="cannot be read: division by zero"):
            measure(model)
        failing.remove()
    else:
        measure(model)
    assert attention_of(model) == before
    assert model.training
    assert all(weight.requires_grad for weight in model.parameters())
    assert not hooks(model)


def test_a_layer_that_keeps_its_weights_is_nan() -> None:
    model = make_model("gpt2")
    whole = measure(model)
    model.transformer.h[0].attn.register_forward_hook(lambda *args: (args[-1][0], None))
    found = measure(model)
    assert np.isnan(found.induction[0]).all()
    assert np.array_equal(found.induction[1], whole.induction[1])
    assert np.isfinite(found.induction[1]).all()


def test_what_is_no_attention_is_not_taken_for_it() -> None:
    """Maps that look ahead, or of scores before the softmax."""
    for change in (lambda maps: maps.flip(-1), lambda maps: 3 * maps, lambda maps: maps[:, :2]):
        model = make_model("gpt2")
        for block in model.transformer.h:
            block.attn.register_forward_hook(
                lambda *args, change=change: (args[-1][0], change(args[-1][1]))
            )
        with pytest.raises(ModelError, match="do not give their weights away"):
            measure(model)


def test_bad_input_is_a_line() -> None:
    chg.register_architecture("odd_looking", attention="mixer", projection="out")
    for model, message in (
        (Odd(model_type="odd_looking"), "Odd cannot be read: its layers do not give"),
        (make_model("gpt2", n_positions=6), "6 positions and 63 tokens, too few"),
    ):
        with pytest.raises(ModelError, match=message) as caught:
            measure(model)
        assert "\n" not in str(caught.value)
    with pytest.raises(ModelError, match="12 positions and 2 tokens"):
        measure(make_model("gpt2", n_positions=12), tokens=[3, 4, 4])
    with pytest.raises(ConfigError, match="ids from 0 to 63"):
        measure(make_model("gpt2"), tokens=[1, 2, 64])


def test_one_thread_at_a_time() -> None:
    model, refused = make_model("gpt2"), []

    def disturb(*_: Any) -> None:
        def other() -> None:
            with pytest.raises(ModelError, match="another thread works with this GPT2"):
                measure(model)
            refused.append(attention_of(model))

        thread = threading.Thread(target=other)
        thread.start()
        thread.join()

    model.register_forward_pre_hook(disturb)
    measure(model)
    assert len(refused) == 4


@pytest.mark.parametrize("family", FAMILIES)
def test_families(family: str) -> None:
    found = measure(make_model(family))
    for scores in found.by_name.values():
        assert ((scores > 0) & (scores < 1)).all()

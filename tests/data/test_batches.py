"""Batches hold every row once."""

from __future__ import annotations

from chg import tokenize_texts
from chg.data.batches import batches, collate
from support.local_hub import SENTENCES


def test_batches_cover_every_row_once(tokenizer) -> None:  # type: ignore[no-untyped-def]
    data = tokenize_texts(SENTENCES, tokenizer, max_length=64)
    seen = []
    for indices, batch in batches(data, 4):
        seen += indices
        for i, index in enumerate(indices):
            length = int(batch.attention_mask[i].sum())
            assert tuple(batch.input_ids[i, :length].tolist()) == data.rows[index].ids
            scored = batch.scored[batch.sequences == i] - i * batch.input_ids.shape[1]
            places = [j for j, is_scored in enumerate(data.rows[index].scored) if is_scored]
            assert (scored + 1).tolist() == places
            tokens = batch.tokens[batch.sequences == i].tolist()
            assert tokens == [data.rows[index].ids[j] for j in places]
    assert sorted(seen) == list(range(len(data)))
    twice = collate(data.rows[:2], 0).repeat(2)
    assert len(twice) == 4
    assert twice.input_ids[0].tolist() == twice.input_ids[2].tolist()

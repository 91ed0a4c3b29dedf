"""Rows after the prompts of other rows: the same targets with nothing that leads to them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from chg.data.tokens import TokenData, TokenRow, require_token_data


def exchange_prompts(data: TokenData, seed: int = 0) -> tuple[TokenData, TokenData]:
    """Put every row's targets after another row's prompt (docs/evidence.md#competence).

    A row is cut where its targets begin; a row of text, where every token is a target, in the
    middle. Prompts come from rows with other targets as far as there are any, each once.

    Args:
        data: the rows; a single one keeps its prompt.
        seed: draws the rows that give their prompts.

    Returns:
        The rows themselves, and the rows after exchanged prompts. In both the same tokens are
        scored, those after the cut.

    Raises:
        DataError: `data` is no `TokenData`.
    """
    require_token_data(data)
    cuts = [_cut(row) for row in data.rows]
    givers = _givers([row.ids[cut:] for row, cut in zip(data.rows, cuts, strict=True)], seed)
    longest = max(len(row.ids) for row in data.rows)
    own, exchanged = [], []
    for row, cut, giver in zip(data.rows, cuts, givers, strict=True):
        targets, scored = row.ids[cut:], row.scored[cut:]
        own.append(TokenRow(row.ids, (*[False] * cut, *scored)))
        prompt = data.rows[giver].ids[: cuts[giver]]
        room = max(1, longest - len(targets))
        if len(prompt) > room:  # the first token may start every row; the rest loses its beginning
            prompt = (prompt[0], *prompt[len(prompt) - room + 1 :])
        exchanged.append(TokenRow((*prompt, *targets), (*[False] * len(prompt), *scored)))
    return replace(data, rows=tuple(own)), replace(data, rows=tuple(exchanged))


def is_text(row: TokenRow) -> bool:
    """Tell whether every token but the first is a target."""
    return all(row.scored[1:])


def _cut(row: TokenRow) -> int:
    return max(1, len(row.ids) // 2) if is_text(row) else row.scored.index(True)


def _givers(targets: list[tuple[int, ...]], seed: int) -> list[int]:
    """Choose for each row the row that gives its prompt, with another target where possible."""
    generator = np.random.default_rng(seed)
    places: dict[tuple[int, ...], list[int]] = {}
    for place in generator.permutation(len(targets)):
        places.setdefault(targets[place], []).append(int(place))
    # Rows of one target stand together: a turn by the largest such group leaves every group.
    line = [place for group in places.values() for place in group]
    turn = max(len(group) for group in places.values())
    givers = [0] * len(targets)
    for i, place in enumerate(line):
        givers[place] = line[(i + turn) % len(line)]
    return givers

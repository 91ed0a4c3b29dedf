"""Counterparts of rows: counterfactual prompts and wrong answers, joined to the rows themselves."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

from chg.data.tokens import TokenRow

logger = logging.getLogger(__name__)


def with_references(
    rows: list[TokenRow | None], references: list[TokenRow | None], name: str | None
) -> list[TokenRow | None]:
    """Join rows and the rows of their corrupted prompts; None where either has nothing to score.

    Under a name, it is said in how many rows the two are not aligned.
    """
    joined: list[TokenRow | None] = []
    shifted = 0
    for row, reference in zip(rows, references, strict=True):
        if row is None or reference is None:
            joined.append(None)
            continue
        shifted += row.scored.index(True) != reference.scored.index(True)
        joined.append(replace(row, reference_ids=reference.ids))
    if shifted and name is not None:
        logger.warning(
            "%s: in %d rows the target begins at another position after the corrupted prompt; "
            "heads stand in for each other position by position, from the left",
            name,
            shifted,
        )
    return joined


def with_foil(row: TokenRow | None, answer: TokenRow | None) -> TokenRow | None:
    """Hold a row against the same prompt with a wrong answer; None where nothing tells them apart.

    The two are compared from where their targets begin: cut rows begin at different words.
    """
    if row is None or answer is None:
        return None
    start, other = row.scored.index(True), answer.scored.index(True)
    alike = min(start, other) - 1  # the first token may stand for what was cut
    if row.ids[start - alike : start] != answer.ids[other - alike : other]:
        return None
    wrong = answer.ids[other:]
    shared = shared_length(row.ids[start:], wrong)
    if start + shared == len(row.ids) or shared == len(wrong):
        return None
    return replace(row, foil=(start + shared, wrong[shared]))


def is_matched(row: TokenRow, unknown: int | None) -> bool:
    """Tell whether a row's counterfactual prompt is as long, its foil another token from the start,
    and all of its tokens known."""
    start = row.scored.index(True)
    reference = row.reference_ids
    as_long = reference is None or (
        len(reference) == len(row.ids) and reference[start:] == row.ids[start:]
    )
    told_apart = row.foil is None or row.foil[0] == start
    return as_long and told_apart and unknown not in (*row.ids, *(reference or ()))


def shared_length(left: Sequence[int], right: Sequence[int]) -> int:
    """Count the tokens with which both begin."""
    for i, (a, b) in enumerate(zip(left, right, strict=False)):
        if a != b:
            return i
    return min(len(left), len(right))

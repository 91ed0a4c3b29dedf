"""Rows against a model: token ids that it has, and no more of them than its context holds."""

from __future__ import annotations

from chg.data import TokenData, require_token_data
from chg.errors import DataError
from chg.models import AnyModel, max_positions, unwrap_model


def require_rows_for(model: AnyModel, data: TokenData) -> None:
    """See that a model can read every row.

    Raises:
        DataError: they are not tokenized, or a row is longer than the model's context, or has a
            token that it lacks.
    """
    require_token_data(data)
    model = unwrap_model(model)
    longest = max_positions(model)
    vocabulary: int = model.get_input_embeddings().weight.shape[0]  # type: ignore[operator]
    for number, row in enumerate(data.rows):
        largest = max((*row.ids, *(row.reference_ids or ())))
        if largest >= vocabulary:
            raise DataError(
                f"row {number} of {data.name} has the token id {largest}, and the model has "
                f"{vocabulary} tokens; use the model's own tokenizer"
            )
        if longest is not None and len(row.ids) > longest:
            raise DataError(
                f"row {number} of {data.name} has {len(row.ids)} tokens, and the model reads "
                f"{longest} at most; set max_length={longest}"
            )

"""Results as lines: JSON objects, or columns between tabs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from securealign.client.predictions import Prediction, predictions
from securealign.errors import InputError
from securealign.matrices import FloatMatrix
from securealign.protocol.messages import InferenceAccept, Link

#: Names of a result as JSON; columns of the input that are kept cannot have them.
_OWN = frozenset({"index", "label", "score", "logits", "margins", "confidence", "abstained", "head"})
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


def check_columns(columns: Sequence[str]) -> None:
    """Raise `InputError` for columns to keep that results cannot hold."""
    for column in columns:
        if column in _OWN or columns.count(column) > 1:
            raise InputError(
                f"The column {column!r} cannot be kept: results have one of this name.", hint="Rename it in the input."
            )


def result_lines(
    accepted: InferenceAccept,
    first: int,
    answers: FloatMatrix,
    kept: Sequence[tuple[Any, ...]],
    columns: Sequence[str],
    *,
    as_json: bool,
) -> list[str]:
    """Return a line for each answer, the first one to the input number `first`.

    `answers` are logits (m, K), or labels (m, 2) where the session is one of labels. Columns between tabs are index,
    label, probability or confidence, and what is kept; a label that was withheld is empty. Logits without probabilities
    are called margins.
    """
    lines = []
    found = predictions(accepted, answers, first)
    for prediction, answer, values in zip(found, answers, kept, strict=True):
        if as_json:
            row = {
                "index": prediction.index,
                **dict(zip(columns, values, strict=True)),
                **_fields(prediction),
            }
            if accepted.labels is None:
                row["margins" if accepted.link is Link.MARGIN else "logits"] = answer.tolist()
            lines.append(json.dumps(row | {"head": accepted.head_digest.hex()}))
            continue
        # A class name holds neither tabs nor line ends: the message that brings it was checked.
        cells = [str(prediction.index), prediction.label]
        if prediction.score is not None:
            cells.append(f"{prediction.score:.4f}")
        if prediction.confidence is not None:
            cells.append(str(prediction.confidence))
        lines.append("\t".join([*cells, *map(_cell, values)]))
    return lines


def _fields(prediction: Prediction) -> dict[str, Any]:
    """Return what JSON says of a prediction; null stands for a label that was withheld."""
    row: dict[str, Any] = {"label": None if prediction.abstained else prediction.label}
    if prediction.abstained:
        row["abstained"] = True
    if prediction.score is not None:
        row["score"] = prediction.score
    if prediction.confidence is not None:
        row["confidence"] = prediction.confidence
    return row


def _cell(value: object) -> str:
    text = "" if value is None else value if isinstance(value, str) else json.dumps(value)
    return text.translate(_ESCAPES)

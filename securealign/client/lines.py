"""Results as lines: JSON objects, or columns between tabs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from securealign.alignment.links import Link as LinkName
from securealign.alignment.links import probabilities
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
    rows = _label_rows(accepted, answers) if accepted.labels is not None else _logit_rows(accepted, answers)
    lines = []
    for index, (row, values) in enumerate(zip(rows, kept, strict=True), first):
        if as_json:
            beside = dict(zip(columns, values, strict=True))
            lines.append(json.dumps({"index": index, **beside, **row, "head": accepted.head_digest.hex()}))
            continue
        # A class name holds neither tabs nor line ends: the message that brings it was checked.
        cells = [str(index), row["label"] or ""]
        if "score" in row:
            cells.append(f"{row['score']:.4f}")
        if "confidence" in row:
            cells.append(str(row["confidence"]))
        lines.append("\t".join([*cells, *map(_cell, values)]))
    return lines


def _cell(value: object) -> str:
    text = "" if value is None else value if isinstance(value, str) else json.dumps(value)
    return text.translate(_ESCAPES)


def _names(accepted: InferenceAccept) -> list[str]:
    return list(accepted.class_names or map(str, range(accepted.classes)))


def _logit_rows(accepted: InferenceAccept, logits: FloatMatrix) -> list[dict[str, Any]]:
    names = _names(accepted)
    labels = logits.argmax(axis=1)
    if accepted.link is Link.MARGIN:
        # Distances to decision boundaries: nothing makes probabilities of them.
        return [{"label": names[label], "margins": row.tolist()} for label, row in zip(labels, logits, strict=True)]
    scores = probabilities(logits, cast("LinkName", accepted.link.name.lower()))[np.arange(len(labels)), labels]
    return [
        {"label": names[label], "score": float(score), "logits": row.tolist()}
        for label, score, row in zip(labels, scores, logits, strict=True)
    ]


def _label_rows(accepted: InferenceAccept, answers: FloatMatrix) -> list[dict[str, Any]]:
    # The class that stands for no label comes last.
    names: list[str | None] = [*_names(accepted), None]
    rows: list[dict[str, Any]] = []
    for label, buckets in answers.astype(np.int64):
        row: dict[str, Any] = {"label": names[label]}
        if names[label] is None:
            row["abstained"] = True
        if accepted.labels is not None and accepted.labels.buckets:
            row["confidence"] = int(buckets)
        rows.append(row)
    return rows

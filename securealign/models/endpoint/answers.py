"""Answers of embedding endpoints, which may be anything."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError

from securealign.errors import EndpointError, ErrorCode
from securealign.models.encoder import TextError


class _Item(BaseModel):
    index: int
    embedding: str | list[float]


class _Usage(BaseModel):
    total_tokens: int | None = None


class _Answer(BaseModel):
    data: list[_Item]
    usage: _Usage | None = None


def read_answer(content: bytes, count: int, host: str) -> tuple[NDArray[np.float32], int | None]:
    """Return the embeddings (count, d) in the order of the texts, and the tokens that were charged if that is told.

    Raises `EndpointError` for an answer of another form, number, order or length, and `TextError`, whose row counts
    from 0 in this request, for an embedding with NaN or an infinite value.
    """
    try:
        answer = _Answer.model_validate_json(content)
    except ValidationError:
        # Its message quotes the answer.
        kind = "HTML" if content.lstrip()[:1] == b"<" else "no list of embeddings as JSON"
        raise _invalid(f"{host} answers with {kind}", "Check endpoint: is it an OpenAI-compatible address?") from None
    hint = "Do not use this server: its embeddings cannot be told apart."
    if len(answer.data) != count:
        raise _invalid(f"{host} gives {len(answer.data)} embeddings for {count} texts", hint)
    items = {item.index: item.embedding for item in answer.data}
    missing = next((index for index in range(count) if index not in items), None)
    if missing is not None:
        raise _invalid(f"{host} repeats or invents an index, and gives no embedding with index {missing}", hint)
    rows = [_vector(items[index], host) for index in range(count)]
    odd = next((row for row in rows if len(row) != len(rows[0])), None)
    if odd is not None or not len(rows[0]):
        lengths = f"{len(rows[0])} and {len(odd)} numbers" if odd is not None else "no numbers"
        raise _invalid(f"{host} gives embeddings of {lengths} in one answer", hint)
    matrix = np.stack(rows)
    _check_finite(matrix, host)
    return matrix, answer.usage.total_tokens if answer.usage is not None else None


def check_dimension(matrix: NDArray[np.float32], dimension: int, host: str) -> None:
    """Raise `EndpointError` unless embeddings (m, d) have the length `dimension`."""
    if matrix.shape[1] != dimension:
        raise _invalid(
            f"{host} gives embeddings of {matrix.shape[1]} dimensions, not {dimension}",
            "Set dimensions to a length that the model can have, or leave it out.",
        )


def _vector(embedding: str | Sequence[float], host: str) -> NDArray[np.float32]:
    if not isinstance(embedding, str):
        with np.errstate(over="ignore"):
            return np.asarray(embedding, dtype=np.float64).astype(np.float32)
    try:
        return np.frombuffer(base64.b64decode(embedding, validate=True), dtype="<f4")
    except (binascii.Error, ValueError):
        raise _invalid(f"{host} gives an embedding that is no base64 of float32", "Try another server.") from None


def _check_finite(matrix: NDArray[np.float32], host: str) -> None:
    finite = np.isfinite(matrix).all(axis=1)
    if not finite.all():
        raise TextError(
            int(np.argmin(finite)),
            f"has an embedding by {host} that holds NaN or an infinite value.",
            hint="Leave this text out on both sides, or tell the vendor.",
            code=ErrorCode.NON_FINITE_INPUT,
        )


def _invalid(said: str, hint: str) -> EndpointError:
    return EndpointError(f"{said}.", hint=hint, code=ErrorCode.ENDPOINT_ANSWER_INVALID)

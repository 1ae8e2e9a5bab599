"""The interface of encoders, and what their implementations share."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from securealign.errors import ErrorCode, InputError
from securealign.files import sha256_of

Progress = Callable[[int, int], None]
"""Receives how many texts are done, and of how many."""


class TextError(InputError):
    """A text that an encoder cannot embed; `row` counts from 0 in the texts that the encoder was given."""

    def __init__(self, row: int, problem: str, *, hint: str, code: ErrorCode | None = None) -> None:
        super().__init__(f"Text {row} {problem}", hint=hint, code=code)
        self.row = row
        self._problem = problem

    def at(self, row: int) -> TextError:
        """Return the error for the same text in another place."""
        return TextError(row, self._problem, hint=self.hint, code=self.code)


class Encoder(Protocol):
    """Maps texts to vectors; encoders of the same `fingerprint` give the same vectors, up to rounding."""

    @property
    def name(self) -> str:
        """A name for people."""
        ...

    @property
    def dimension(self) -> int:
        """The length d of an embedding."""
        ...

    @property
    def fingerprint(self) -> str:
        """Hexadecimal SHA-256 over weights, configuration, tokenizer, and settings that change the vectors."""
        ...

    def encode(self, texts: Sequence[str], *, progress: Progress | None = None) -> NDArray[np.float32]:
        """Return finite embeddings of shape (n, d); raises `InputError` when a text yields another value."""
        ...


def fingerprint_of(files: Mapping[str, Path], settings: Mapping[str, str | int | bool | None]) -> str:
    """Return the hexadecimal SHA-256 over the named files' contents and the settings."""
    content = {"files": {name: sha256_of(path) for name, path in files.items()}, "settings": dict(settings)}
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(b"securealign/encoder/v1\x00" + canonical.encode()).hexdigest()


def check_finite(values: NDArray[np.floating], first_row: int, source: str) -> None:
    """Raise `InputError` naming the row, counted from `first_row`, that holds NaN or an infinite value."""
    finite = np.isfinite(values).all(axis=1)
    if not finite.all():
        row = first_row + int(np.argmin(finite))
        raise InputError(
            f"Row {row} of {source} holds NaN or an infinite value.",
            hint="Remove or recompute that row on both sides before aligning.",
            code=ErrorCode.NON_FINITE_INPUT,
        )

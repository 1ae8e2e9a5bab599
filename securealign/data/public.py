"""The public texts of both parties, each text once: N is one number, and no row counts twice in a fit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from securealign.data.digest import dataset_digest
from securealign.data.sources import load_dataset

Scalar = TypeVar("Scalar", bound=np.generic)


def unique_rows(texts: Iterable[str]) -> tuple[int, ...]:
    """Return the row of the first occurrence of each text, ascending; texts are equal by their code points alone."""
    first: dict[str, int] = {}
    for row, text in enumerate(texts):
        first.setdefault(text, row)
    return tuple(first.values())


@dataclass(frozen=True, kw_only=True, repr=False)
class PublicTexts:
    """Distinct public texts (N of them), the row of each in its source, and how many rows that has."""

    texts: tuple[str, ...]
    rows: tuple[int, ...]
    in_source: int

    @classmethod
    def of(cls, texts: Sequence[str]) -> PublicTexts:
        """Return the distinct texts in the order in which they first occur."""
        rows = unique_rows(texts)
        return cls(texts=tuple(texts[row] for row in rows), rows=rows, in_source=len(texts))

    def __repr__(self) -> str:
        """Return the sizes alone: texts must not reach a log."""
        return f"PublicTexts(texts={len(self.texts)}, in_source={self.in_source})"

    @property
    def repeated(self) -> int:
        """How many rows of the source were left out."""
        return self.in_source - len(self.texts)

    @property
    def digest(self) -> bytes:
        """The digest (32 bytes) that the parties compare."""
        return dataset_digest(self.texts)

    def select(self, matrix: NDArray[Scalar]) -> NDArray[Scalar]:
        """Return the rows (N, d) of the distinct texts out of a matrix with one row for each text of the source."""
        # Without repeats the matrix stays what it is, which may be a mapped file.
        return matrix[list(self.rows)] if self.repeated else matrix


def load_public(spec: str, *, cache: Path | None = None) -> PublicTexts:
    """Return the public texts that `spec` names, as for `load_dataset`; raises what that raises."""
    return PublicTexts.of(load_dataset(spec, cache=cache).texts)

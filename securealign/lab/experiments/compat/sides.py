"""A party's embeddings: of any text by its encoder, or of the public texts alone, from a file."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from securealign.errors import InputError
from securealign.lab.experiments.embeddings import Embeddings, Vectors
from securealign.models.precomputed import is_array_file
from securealign.models.source import load_paired


@dataclass(frozen=True)
class EncoderSide:
    """An encoder, named as for `open_encoder`."""

    spec: str
    embeddings: Embeddings = field(repr=False)
    encodes: bool = True

    @property
    def name(self) -> str:
        """A name to show: of a folder, its last part."""
        return Path(self.spec).resolve().name if Path(self.spec).is_dir() else self.spec

    @property
    def dimension(self) -> int:
        """Length d of an embedding; raises what `open_encoder` raises."""
        return self.embeddings.dimension(self.spec)

    @property
    def fingerprint(self) -> str:
        """What the embeddings depend on."""
        return self.embeddings.fingerprint(self.spec)

    def public(self, texts: Sequence[str]) -> Vectors:
        """Return the embeddings (n, d) of public texts."""
        return self.of(texts, "public texts")

    def of(self, texts: Sequence[str], what: str) -> Vectors:
        """Return the embeddings (n, d) of any texts."""
        return self.embeddings.of(self.spec, texts, what)


@dataclass(frozen=True)
class FileSide:
    """Embeddings made elsewhere, one row for each of the public file's texts."""

    name: str
    rows: dict[str, Vectors] = field(repr=False)
    dimension: int
    fingerprint: str
    encodes: bool = False

    @classmethod
    def load(cls, path: Path, texts: Sequence[str]) -> FileSide:
        """Read a file; raises `InputError` unless it holds one finite row for each text."""
        matrix = np.ascontiguousarray(load_paired(path, len(texts)), dtype=np.float32)
        content = hashlib.sha256(str(matrix.shape).encode())
        content.update(matrix.tobytes())
        # A text that occurs twice keeps the first of its rows.
        rows = {text: matrix[row] for row, text in reversed(list(enumerate(texts)))}
        return cls(path.name, rows, matrix.shape[1], content.hexdigest())

    def public(self, texts: Sequence[str]) -> Vectors:
        """Return the embeddings (n, d) of public texts."""
        return np.stack([self.rows[text] for text in texts])

    def of(self, texts: Sequence[str], what: str) -> Vectors:
        """Raise `InputError`: a file holds embeddings of the public texts only."""
        raise InputError(
            f"{self.name} holds no embeddings of {what}.", hint="Name the encoder itself to embed other texts."
        )


Side = EncoderSide | FileSide


def open_side(spec: str, texts: Sequence[str], embeddings: Embeddings) -> Side:
    """Return the side that `spec` names: a file of embeddings of all `texts`, or an encoder."""
    if is_array_file(spec):
        return FileSide.load(Path(spec), texts)
    return EncoderSide(spec, embeddings)

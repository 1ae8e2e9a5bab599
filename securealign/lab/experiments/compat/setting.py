"""The configuration of a comparison: two sides, public texts (to fit on, and held out), and probes."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from securealign.alignment import AlignmentMap
from securealign.alignment.clear import ClearFit
from securealign.alignment.regression import MapKind
from securealign.data import TextDataset, dataset_digest
from securealign.errors import ErrorCode, InputError
from securealign.lab.experiments.corpora import Corpora, Embeddings, Vectors
from securealign.models.precomputed import is_array_file
from securealign.models.source import load_paired
from securealign.protocol.policy.rank import rows_needed
from securealign.protocol.policy.rules import Rules


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

    def of(self, texts: Sequence[str], what: str = "public texts") -> Vectors:
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

    def of(self, texts: Sequence[str], what: str = "public texts") -> Vectors:
        """Return the embeddings (n, d) of public texts; raises `InputError` for others."""
        if not self.rows.keys() >= set(texts):
            raise InputError(
                f"{self.name} holds no embeddings of {what}.", hint="Name the encoder itself to embed other texts."
            )
        return np.stack([self.rows[text] for text in texts])


Side = EncoderSide | FileSide


def open_side(spec: str, texts: Sequence[str], embeddings: Embeddings) -> Side:
    """Return the side that `spec` names: a file of embeddings of all `texts`, or an encoder."""
    if is_array_file(spec):
        return FileSide.load(Path(spec), texts)
    return EncoderSide(spec, embeddings)


Rows = npt.NDArray[np.intp]

#: Every fifth public text is held out from the map that is judged on the public texts.
_HELD = 5
#: Public texts that are used unless told otherwise, and for each dimension of the client if that is more.
USUAL_TEXTS, ROWS_PER_DIMENSION = 2500, 3
#: Clusters of the public texts whose numbers serve as labels.
CLUSTERS = (8, 20)
#: Labelled texts from which the client fits a head alone.
ALONE = (64, 128)


@dataclass(frozen=True)
class Public:
    """Distinct public texts in the order of a draw, with labels if the file has them, and what the file holds."""

    name: str
    data: TextDataset
    in_file: int

    @classmethod
    def draw(cls, dataset: TextDataset, name: str, count: int, corpora: Corpora) -> Public:
        """Return up to `count` distinct texts."""
        rows = {text: row for row, text in reversed(list(enumerate(dataset.texts)))}
        return cls(name, corpora.draw(dataset.subset(sorted(rows.values())), count), len(dataset))

    @cached_property
    def digest(self) -> str:
        """Hexadecimal digest of the texts, in their order."""
        return dataset_digest(self.data.texts).hex()


@dataclass(frozen=True)
class CompatConfig:
    """Two sides, public texts, labelled probes by name, shots and seeds."""

    client: Side
    provider: Side
    public: Public
    probes: tuple[str, ...]
    corpora: Corpora
    shots: int = 64
    seeds: int = 3
    clusters: tuple[int, ...] = CLUSTERS
    #: Kind of map that the client would use.
    map_kind: MapKind = "soft"

    def check(self) -> None:
        """Raise `InputError` when the protocol would refuse so few texts."""
        count, least = len(self.public.data), self.client.dimension + 2
        if count < least:
            more = "" if self.public.in_file < least else " Raise --texts: the file has enough of them."
            raise InputError(
                f"{count:,} distinct public texts are too few for the {self.client.dimension:,} dimensions of "
                f"{self.client.name}: they would show the provider's embeddings exactly.",
                hint=f"Give {least:,} at the very least, {usual_least(self.client.dimension):,} for the usual policy "
                f"of a provider, and better {ROWS_PER_DIMENSION * self.client.dimension:,}.{more}",
                code=ErrorCode.TOO_FEW_ROWS,
            )

    @property
    def labelled(self) -> bool:
        """Whether both sides embed any text, so that built-in tasks can serve as probes."""
        return self.client.encodes and self.provider.encodes

    @cached_property
    def rows_b(self) -> Vectors:
        """The client's embeddings (N, d_B) of the public texts."""
        return self.client.of(self.public.data.texts)

    @cached_property
    def rows_a(self) -> Vectors:
        """The provider's embeddings (N, d_A) of the public texts."""
        return self.provider.of(self.public.data.texts)

    @property
    def held(self) -> Rows:
        """Public rows that are held out."""
        return np.flatnonzero(np.arange(len(self.public.data)) % _HELD == 1)

    @property
    def fitted(self) -> Rows:
        """All other public rows."""
        return np.flatnonzero(np.arange(len(self.public.data)) % _HELD != 1)

    @property
    def other_kind(self) -> MapKind:
        """The kind of map that stands beside it."""
        return "ridge" if self.map_kind == "soft" else "soft"

    @cached_property
    def fit(self) -> ClearFit:
        """The fit on all public rows, as a client makes it unless told otherwise, by `ridge = "auto"`."""
        return ClearFit.of(self.rows_b, self.rows_a)

    @cached_property
    def fit_without_held(self) -> ClearFit:
        """The fit on the rows that are not held out."""
        return ClearFit.of(self.rows_b[self.fitted], self.rows_a[self.fitted])

    @cached_property
    def map(self) -> AlignmentMap:
        """The map fitted on all public rows; raises `InputError` for sides that have nothing in common."""
        return self.fit.map(self.map_kind)

    @cached_property
    def map_without_held(self) -> AlignmentMap:
        """The map fitted on the rows that are not held out."""
        return self.fit_without_held.map(self.map_kind)

    @property
    def key(self) -> dict[str, Any]:
        """What everything depends on."""
        return {
            "client": self.client.fingerprint,
            "provider": self.provider.fingerprint,
            "public": self.public.digest,
            "map": self.map_kind,
        }


def usual_least(dimension: int) -> int:
    """Return how many public rows a provider's usual policy asks for: so many allow one session."""
    return rows_needed(dimension + 1, Rules.max_rank_fraction)


def usual_texts(dimension: int) -> int:
    """Return how many public texts to use for a client of this dimension."""
    return max(USUAL_TEXTS, math.ceil(ROWS_PER_DIMENSION * dimension), usual_least(dimension))

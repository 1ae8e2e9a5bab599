"""What is to be classified, read as it is needed: texts or embeddings, in files of any length or from a pipe."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from securealign.client.results import Place, Results
from securealign.data.files import STDIN, iterate_rows, name_of
from securealign.data.lines import Fields, Row
from securealign.errors import ErrorCode, InputError
from securealign.matrices import FloatMatrix, Rows
from securealign.models import load_embeddings
from securealign.models.precomputed import is_array_file

_BLOCK_ROWS = 1024
_DOMAIN = b"securealign/inputs/v1\x00"


@dataclass(frozen=True, repr=False)
class Content:
    """Some inputs in their order: texts or embeddings (m, d), and for each the values of the columns to keep."""

    texts: Sequence[str] | None
    vectors: FloatMatrix | None
    kept: Sequence[tuple[Any, ...]]

    def __len__(self) -> int:
        """Return the number of inputs."""
        return len(self.kept)

    def __getitem__(self, rows: slice) -> Content:
        texts = None if self.texts is None else self.texts[rows]
        return Content(texts, None if self.vectors is None else self.vectors[rows], self.kept[rows])

    def __add__(self, other: Content) -> Content:
        texts = None if self.texts is None else [*self.texts, *(other.texts or ())]
        vectors = self.vectors
        if vectors is not None and other.vectors is not None:
            vectors = np.vstack([vectors, other.vectors])
        return Content(texts, vectors, [*self.kept, *other.kept])

    def encoded(self) -> Iterator[bytes]:
        """Yield bytes that identify each input with what is kept of it."""
        for row, kept in enumerate(self.kept):
            if self.texts is not None:
                yield json.dumps([self.texts[row], *kept]).encode() + b"\n"
            elif self.vectors is not None:
                yield self.vectors[row].tobytes()


class Inputs(ABC):
    """Inputs that are read once, from the first to the last."""

    #: For messages.
    name: str
    #: How many there are, None while that is unknown.
    count: int | None

    @abstractmethod
    def read(self, count: int) -> Content:
        """Return the next inputs, fewer at the end; raises `InputError` for one that cannot be used."""


class TextInputs(Inputs):
    """Rows of a file of texts."""

    def __init__(self, name: str, rows: Iterator[Row], count: int | None) -> None:
        self.name = name
        self.count = count
        self._rows, self._taken = rows, 0

    def read(self, count: int) -> Content:
        """Return the next texts; raises `InputError` where a file has more or fewer of them than before."""
        rows = list(islice(self._rows, count))
        self._taken += len(rows)
        if self.count is not None and (self._taken > self.count or (len(rows) < count and self._taken < self.count)):
            raise InputError(
                f"{self.name} was changed while it was read: it had {self.count} texts.",
                hint="Give the same command again when nothing writes to the file.",
                code=ErrorCode.INPUT_INVALID,
            )
        return Content([row.text for row in rows], None, [row.kept for row in rows])


class EmbeddingInputs(Inputs):
    """Rows of a matrix, which may be larger than memory."""

    def __init__(self, name: str, matrix: Rows, limit: int | None) -> None:
        self.name = name
        self.count = matrix.shape[0] if limit is None else min(limit, matrix.shape[0])
        self._matrix = matrix
        self._next = 0

    def read(self, count: int) -> Content:
        """Return the next embeddings."""
        stop = min(self._next + count, self.count or 0)
        vectors = self._matrix.block(self._next, stop)
        self._next = stop
        return Content(None, vectors, [()] * len(vectors))


def open_inputs(
    path: str | Path, *, text_field: str = "text", keep: Sequence[str] = (), limit: int | None = None
) -> Inputs:
    """Return the inputs of a file, or of standard input for "-": texts, or embeddings by the name of the file.

    A regular file of texts is read once beforehand, so that all that is wrong with it is known before a query is spent.
    Raises `InputError` for what cannot be used, and for a file that holds nothing.
    """
    if str(path) != STDIN and is_array_file(path):
        return open_embeddings(Path(path), keep=keep, limit=limit)
    fields = Fields(text_field, None, tuple(keep))
    count = None
    if str(path) != STDIN and (not Path(path).exists() or Path(path).is_file()):
        count = sum(1 for _ in islice(iterate_rows(path, fields), limit))
        if not count:
            raise InputError(f"{path} holds no texts.", hint="Give a file with at least one text.")
    return TextInputs(name_of(path), islice(iterate_rows(path, fields), limit), count)


def open_embeddings(path: Path, *, keep: Sequence[str] = (), limit: int | None = None) -> Inputs:
    """Return the rows of a file of embeddings; one in .npy is mapped, others are read whole."""
    if keep:
        raise InputError(f"{path} holds embeddings, which have no column {keep[0]!r}.", hint="Leave --keep out.")
    return EmbeddingInputs(str(path), Rows(load_embeddings(path), name=str(path)), limit)


class Feed:
    """Inputs block by block, with a running digest of those handed out.

    `known` is the number of inputs that an earlier run has seen, and their digest: other inputs are refused.
    """

    def __init__(self, inputs: Inputs, known: tuple[int, str] = (0, "")) -> None:
        self.inputs = inputs
        self._known = known
        #: Inputs handed out.
        self.position = 0
        self._digest = self._before = hashlib.sha256(_DOMAIN)
        self._ended = False
        #: Inputs that were read and not handed out.
        self._ahead: Content | None = None

    @property
    def digest(self) -> str:
        """Hexadecimal SHA-256 of the inputs handed out."""
        return self._digest.hexdigest()

    def take(self, count: int) -> Content:
        """Return the next inputs, fewer at the end; raises `InputError` where they are not those of the earlier run."""
        content = self._ahead if self._ahead is not None else self._read(count)
        if len(content) < count and self._ahead is not None:
            content += self._read(count - len(content))
        content, self._ahead = content[:count], content[count:] if len(content) > count else None
        self._before = self._digest.copy()
        seen, digest = self._known
        for place, encoded in enumerate(content.encoded(), self.position + 1):
            self._digest.update(encoded)
            if place == seen and self.digest != digest:
                raise self._changed()
        self.position += len(content)
        if len(content) < count and self.position < seen:
            raise self._changed()
        return content

    @property
    def left(self) -> int | None:
        """Inputs that are not handed out, None while that is unknown."""
        if self.inputs.count is not None:
            return self.inputs.count - self.position
        if not self._ended:
            return None
        return 0 if self._ahead is None else len(self._ahead)

    def look_ahead(self, count: int) -> None:
        """Read so many inputs, if there are as many, and hand out none."""
        self.give_back(self.take(count))

    def give_back(self, content: Content) -> None:
        """Undo the last `take`."""
        self._digest = self._before
        self.position -= len(content)
        self._ahead = content if self._ahead is None else content + self._ahead

    def skip_to(self, position: int) -> None:
        """Hand out nothing up to a position; raises `InputError` as `take` does."""
        while self.position < position and len(self.take(min(_BLOCK_ROWS, position - self.position))):
            pass

    def more(self) -> bool:
        """Return whether any input is left."""
        content = self.take(1)
        self.give_back(content)
        return len(content) > 0

    def _read(self, count: int) -> Content:
        content = self.inputs.read(count)
        self._ended |= len(content) < count
        return content

    def _changed(self) -> InputError:
        return InputError(
            f"The first {self._known[0]} inputs of {self.inputs.name} are not those that were classified before.",
            hint="Give the same input to go on, or delete the partial result to begin again.",
            code=ErrorCode.INPUT_INVALID,
        )


def open_feed(inputs: Callable[[], Inputs], results: Results) -> Feed:
    """Return the inputs of some results, from the first on; those of lines that are written are compared.

    A stream shows answers of an earlier process from the first on, so it goes on only if its input, which must be a
    file, is known to be the same; its work begins again otherwise.
    """
    place = results.place
    if not results.durable and place.session:
        opened = inputs()
        before = Feed(opened, (place.asked, place.digest))
        try:
            if opened.count is None:
                raise InputError("The input can be read once.")
            before.skip_to(place.asked)
        except InputError:
            results.place = Place(settings=place.settings)
            return Feed(opened if opened.count is None else inputs())
    known = (results.place.asked, results.place.digest) if results.place.asked else (0, "")
    return Feed(inputs(), known)

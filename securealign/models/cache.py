"""Embeddings on disk, kept by encoder and text, so that a text is encoded once and a killed run loses little."""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from securealign.errors import AssetError, InputError
from securealign.files import write_atomically
from securealign.models.encoder import Encoder, Progress, TextError

_BLOCK_ROWS = 256
_DIGEST_BYTES = 16
#: Keys that are looked up in a dictionary before they are sorted in among the others.
_UNSORTED = 1 << 16


class EmbeddingCache:
    """A folder, readable by its owner alone, with blocks of embeddings in a folder for each encoder's fingerprint.

    A block, an .npz file, holds `vectors` (n, d) and their `keys` (n, 16), the first bytes of the texts' SHA-256. Every
    file appears by a rename of a finished one, so processes may share the folder. A damaged file counts as missing. The
    folder is looked through once: what other processes add later is encoded again.
    """

    def __init__(self, folder: str | Path, *, block_rows: int = _BLOCK_ROWS) -> None:
        self._folder = Path(folder)
        self._block_rows = block_rows
        self._places: dict[Path, _Places] = {}

    def encode(
        self, encoder: Encoder, texts: Sequence[str], *, progress: Progress | None = None
    ) -> NDArray[np.float32]:
        """Return the embeddings (n, d) of `texts`, memory-mapped read-only, encoding those that are missing.

        `progress` counts the missing ones. Raises `InputError` for no texts, whatever the encoder raises, and
        `AssetError` when the folder cannot be written.
        """
        if not texts:
            raise InputError("There are no texts to encode.", hint="Give at least one text.")
        wanted: dict[bytes, list[int]] = {}
        for row, text in enumerate(texts):
            wanted.setdefault(_digest(text), []).append(row)
        try:
            return self._collect(encoder, texts, wanted, progress)
        except OSError as error:
            raise AssetError(
                f"The embedding cache {self._folder} cannot be used: {error}.",
                hint="Free space there or choose a folder you can write to.",
            ) from error

    def _collect(
        self, encoder: Encoder, texts: Sequence[str], wanted: dict[bytes, list[int]], progress: Progress | None
    ) -> NDArray[np.float32]:
        blocks = self._folder / encoder.fingerprint[:32]
        # Embeddings tell much about the texts, which may be nobody else's to read.
        for folder in (self._folder, blocks):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        # In a file without a name, so that a matrix may be larger than memory and needs no cleaning up; with its space
        # taken first, since a full disk would otherwise kill the process that writes to the mapping.
        with tempfile.TemporaryFile(dir=self._folder) as file:
            os.posix_fallocate(file.fileno(), 0, len(texts) * encoder.dimension * np.dtype(np.float32).itemsize)
            matrix = np.memmap(file, dtype=np.float32, mode="w+", shape=(len(texts), encoder.dimension))
        places = self._places.get(blocks) or self._places.setdefault(blocks, _Places.of(blocks))
        for path in places.files(wanted):
            for digest, vector in _read(path, wanted, encoder.dimension).items():
                matrix[wanted.pop(digest)] = vector
        # Texts of like length share a block, so that little of a batch is padding; the longest first, so that the time
        # that is left is not estimated too short.
        missing = sorted(wanted, key=lambda digest: len(texts[wanted[digest][0]]), reverse=True)
        for start in range(0, len(missing), self._block_rows):
            block = missing[start : start + self._block_rows]
            shifted = _shifted(progress, start, len(missing))
            try:
                vectors = encoder.encode([texts[wanted[digest][0]] for digest in block], progress=shifted)
            except TextError as error:
                raise error.at(wanted[block[error.row]][0]) from error.__cause__
            places.add(_write(blocks, block, vectors), block)
            for digest, vector in zip(block, vectors, strict=True):
                matrix[wanted[digest]] = vector
        matrix.flags.writeable = False
        return matrix


class _Places:
    """Which file holds which text, in 12 bytes for each: the beginning of its key, and the number of the file."""

    def __init__(self) -> None:
        self._paths: list[Path] = []
        self._keys, self._numbers = np.empty(0, dtype=np.uint64), np.empty(0, dtype=np.int32)
        #: What is not among the sorted keys yet.
        self._added: dict[bytes, int] = {}

    @classmethod
    def of(cls, folder: Path) -> _Places:
        """Return the places of all texts that a folder holds."""
        places = cls()
        for path in sorted(folder.glob("*.npz")):
            places.add(path, _keys(path))
        return places

    def add(self, path: Path, digests: Sequence[bytes]) -> None:
        """Take note of what a file holds."""
        self._added.update(dict.fromkeys(digests, len(self._paths)))
        self._paths.append(path)
        if len(self._added) > _UNSORTED:
            keys = np.concatenate([self._keys, _beginnings(list(self._added))])
            numbers = np.concatenate([self._numbers, np.array(list(self._added.values()), dtype=np.int32)])
            order = np.argsort(keys)
            self._keys, self._numbers = keys[order], numbers[order]
            self._added.clear()

    def files(self, digests: Collection[bytes]) -> list[Path]:
        """Return the files that may hold one of these texts."""
        keys = _beginnings(list(digests))
        ends = zip(np.searchsorted(self._keys, keys), np.searchsorted(self._keys, keys, side="right"), strict=True)
        found = {int(number) for first, last in ends for number in self._numbers[first:last]}
        found |= {self._added[digest] for digest in digests if digest in self._added}
        return [self._paths[number] for number in sorted(found)]


def _beginnings(digests: Sequence[bytes]) -> NDArray[np.uint64]:
    return np.frombuffer(b"".join(digests), dtype="<u8").reshape(-1, 2)[:, 0].astype(np.uint64)


def _digest(text: str) -> bytes:
    try:
        return hashlib.sha256(text.encode("utf-8")).digest()[:_DIGEST_BYTES]
    except UnicodeEncodeError:
        raise InputError("A text holds a lone surrogate.", hint="Repair the source's encoding.") from None


def _write(folder: Path, digests: Sequence[bytes], vectors: NDArray[np.float32]) -> Path:
    """Write a block and return its file."""
    buffer = io.BytesIO()
    keys = np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(len(digests), _DIGEST_BYTES)
    np.savez(buffer, keys=keys, vectors=vectors)
    name = hashlib.sha256(keys.tobytes()).hexdigest()[:24]
    path = folder / f"{name}.npz"
    write_atomically(path, buffer.getvalue(), mode=0o600)
    return path


def _keys(path: Path) -> list[bytes]:
    """Return the keys of a block, none if it cannot be used."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as content:
            keys = [key.tobytes() for key in content["keys"]]
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        return []
    return keys if all(len(key) == _DIGEST_BYTES for key in keys) else []


def _read(path: Path, wanted: dict[bytes, list[int]], dimension: int) -> dict[bytes, NDArray[np.float32]]:
    """Return what a block holds of the wanted texts."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as content:
            keys = [key.tobytes() for key in content["keys"]]
            if wanted.keys().isdisjoint(keys):
                return {}
            vectors = content["vectors"]
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        return {}
    if vectors.shape != (len(keys), dimension):
        return {}
    return {key: vector for key, vector in zip(keys, vectors, strict=True) if key in wanted}


def _shifted(progress: Progress | None, start: int, total: int) -> Progress | None:
    if progress is None:
        return None
    return lambda done, _total: progress(start + done, total)

"""Embeddings of single texts, kept by encoder and text, so that experiments share them whatever they combine."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from securealign.cache import cache_root
from securealign.commands import Report
from securealign.files import write_atomically
from securealign.models import Encoder, open_encoder

Vectors = npt.NDArray[np.float32]
#: Adds a bar to the display of progress.
AddBar = Callable[[str], Report]

_BLOCK = 256
_DIGEST_BYTES = 16


def no_bars(_description: str) -> Report:
    """Show no progress."""
    return lambda done, total: None


class Embeddings:
    """Embeddings of texts under encoders that are named as for `open_encoder`, cut to `max_tokens` tokens.

    A killed run loses a block of texts at most. Models are opened when texts are missing, one at a time.
    """

    def __init__(
        self,
        *,
        max_tokens: int = 64,
        folder: Path | None = None,
        add_bar: AddBar = no_bars,
        opener: Callable[[str], Encoder] | None = None,
    ) -> None:
        self._max_tokens = max_tokens
        self._folder = folder if folder is not None else cache_root() / "vectors"
        self._add_bar = add_bar
        self._opener = opener or self._open
        self._fingerprints: dict[str, str] = {}
        self._dimensions: dict[str, int] = {}
        self._vectors: dict[str, dict[bytes, npt.NDArray[np.float32]]] = {}
        self._opened: tuple[str, Encoder] | None = None

    def of(self, encoder: str, texts: Sequence[str], what: str = "texts") -> Vectors:
        """Return the embeddings (n, d) of texts, encoding what is missing; raises what `open_encoder` raises."""
        known = self._load(encoder)
        digests = [_digest(text) for text in texts]
        missing = {digest: text for digest, text in zip(digests, texts, strict=True) if digest not in known}
        if missing:
            self._encode(encoder, known, missing, what)
        return np.stack([known[digest] for digest in digests])

    def fingerprint(self, encoder: str) -> str:
        """Return the encoder's fingerprint, which says what its embeddings depend on."""
        if encoder not in self._fingerprints:
            opened = self._open_once(encoder)
            self._fingerprints[encoder] = opened.fingerprint
            self._dimensions[encoder] = opened.dimension
        return self._fingerprints[encoder]

    def dimension(self, encoder: str) -> int:
        """Return the encoder's dimension d."""
        self.fingerprint(encoder)
        return self._dimensions[encoder]

    def _open(self, encoder: str) -> Encoder:
        return open_encoder(encoder, max_tokens=self._max_tokens)

    def _open_once(self, encoder: str) -> Encoder:
        if self._opened is None or self._opened[0] != encoder:
            self._opened = None  # before the next one takes as much memory again
            self._opened = (encoder, self._opener(encoder))
        return self._opened[1]

    def _shards(self, encoder: str) -> Path:
        return self._folder / self.fingerprint(encoder)[:32]

    def _load(self, encoder: str) -> dict[bytes, npt.NDArray[np.float32]]:
        if encoder not in self._vectors:
            dimension = self.dimension(encoder)
            found = (pair for path in sorted(self._shards(encoder).glob("*.npz")) for pair in _read(path, dimension))
            self._vectors[encoder] = dict(found)
        return self._vectors[encoder]

    def _encode(
        self, encoder: str, known: dict[bytes, npt.NDArray[np.float32]], missing: dict[bytes, str], what: str
    ) -> None:
        # Texts of like length share a block, so that little of a batch is padding; the longest first, so that the
        # bar's estimate errs on the side of a pleasant surprise.
        order = sorted(missing, key=lambda digest: len(missing[digest]), reverse=True)
        report = self._add_bar(f"{encoder}: {what}")
        opened = self._open_once(encoder)
        for start in range(0, len(order), _BLOCK):
            report(start, len(order))
            block = order[start : start + _BLOCK]
            vectors = opened.encode([missing[digest] for digest in block])
            _write(self._shards(encoder), block, vectors)
            known.update(zip(block, vectors, strict=True))
        report(len(order), len(order))


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8")).digest()[:_DIGEST_BYTES]


def _write(folder: Path, digests: Sequence[bytes], vectors: Vectors) -> None:
    buffer = io.BytesIO()
    keys = np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(len(digests), _DIGEST_BYTES)
    np.savez(buffer, keys=keys, vectors=vectors)
    name = hashlib.sha256(keys.tobytes()).hexdigest()[:24]
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_atomically(folder / f"{name}.npz", buffer.getvalue(), mode=0o600)


def _read(path: Path, dimension: int) -> Iterator[tuple[bytes, npt.NDArray[np.float32]]]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as content:
            keys, vectors = content["keys"], content["vectors"]
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        return
    if keys.shape == (len(vectors), _DIGEST_BYTES) and vectors.shape[1:] == (dimension,):
        yield from ((key.tobytes(), vector) for key, vector in zip(keys, vectors, strict=True))

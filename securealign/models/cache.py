"""Embeddings on disk, so that texts are encoded once and a killed run continues where it stopped."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from securealign.data.digest import dataset_digest
from securealign.errors import AssetError, ErrorCode, InputError
from securealign.files import write_atomically
from securealign.models.encoder import Encoder, Progress

_BLOCK_ROWS = 512


class EmbeddingCache:
    """A folder of matrices named by SHA-256(encoder fingerprint, digest of the texts), readable by its owner alone.

    Every file appears by a rename of a finished one, so processes may share the folder.
    """

    def __init__(self, folder: str | Path, *, block_rows: int = _BLOCK_ROWS) -> None:
        self._folder = Path(folder)
        self._block_rows = block_rows

    def encode(
        self, encoder: Encoder, texts: Sequence[str], *, progress: Progress | None = None
    ) -> NDArray[np.float32]:
        """Return the embeddings (n, d) of `texts`, memory-mapped read-only, encoding the rows that are missing.

        Raises `InputError` for no texts, whatever the encoder raises, and `AssetError` when the folder cannot be
        written.
        """
        if not texts:
            raise InputError("There are no texts to encode.", hint="Give at least one text.")
        shape = (len(texts), encoder.dimension)
        target = self._folder / f"{_key(encoder, texts)}.npy"
        try:
            # Embeddings tell much about the texts, which may be nobody else's to read.
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            if _open(target, shape) is None:
                self._fill_or_join(encoder, texts, target, progress)
            matrix = _open(target, shape)
        except OSError as error:
            raise AssetError(
                f"The embedding cache {self._folder} cannot be used: {error}.",
                hint="Free space there or choose a folder you can write to.",
            ) from error
        if matrix is None:
            raise AssetError(
                f"{target} was changed by another program.", hint="Delete it.", code=ErrorCode.FILE_INVALID
            )
        return matrix

    def _fill_or_join(self, encoder: Encoder, texts: Sequence[str], target: Path, progress: Progress | None) -> None:
        try:
            self._fill(encoder, texts, target, progress)
        except FileNotFoundError:
            # Another process that finishes the same matrix removes the parts; then its result is this one's.
            if not target.is_file():
                raise

    def _fill(self, encoder: Encoder, texts: Sequence[str], target: Path, progress: Progress | None) -> None:
        parts = target.with_suffix(".parts")
        blocks = [
            (start, min(start + self._block_rows, len(texts))) for start in range(0, len(texts), self._block_rows)
        ]
        for start, stop in blocks:
            part = _part(parts, start, stop)
            if _open(part, (stop - start, encoder.dimension)) is None:
                parts.mkdir(exist_ok=True, mode=0o700)
                block = encoder.encode(texts[start:stop], progress=_shifted(progress, start, len(texts)))
                _write(part, block)
            elif progress is not None:
                progress(stop, len(texts))
        assembled = parts / f"whole-{os.getpid()}-{threading.get_ident()}"
        whole = open_memmap(assembled, mode="w+", dtype=np.float32, shape=(len(texts), encoder.dimension))
        for start, stop in blocks:
            whole[start:stop] = np.load(_part(parts, start, stop), allow_pickle=False)
        whole.flush()
        assembled.replace(target)
        shutil.rmtree(parts, ignore_errors=True)


def _key(encoder: Encoder, texts: Sequence[str]) -> str:
    content = b"securealign/embedding-cache/v1\x00" + bytes.fromhex(encoder.fingerprint) + dataset_digest(texts)
    return hashlib.sha256(content).hexdigest()


def _part(parts: Path, start: int, stop: int) -> Path:
    # Named by its rows, so that parts left by another block size are never taken for these.
    return parts / f"{start:09}-{stop:09}.npy"


def _open(path: Path, shape: tuple[int, int]) -> NDArray[np.float32] | None:
    try:
        matrix: NDArray[np.float32] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (FileNotFoundError, ValueError, EOFError):
        return None
    return matrix if matrix.shape == shape and matrix.dtype == np.float32 else None


def _write(path: Path, block: NDArray[np.float32]) -> None:
    buffer = io.BytesIO()
    np.save(buffer, block)
    write_atomically(path, buffer.getvalue(), mode=0o600)


def _shifted(progress: Progress | None, start: int, total: int) -> Progress | None:
    if progress is None:
        return None
    return lambda done, _total: progress(start + done, total)

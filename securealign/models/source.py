"""Embeddings of a party's texts: by an encoder, with its cache, or from a file that was made elsewhere."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from securealign.cache import cache_root
from securealign.data import PublicTexts
from securealign.errors import ErrorCode, InputError
from securealign.matrices import BLOCK_ROWS
from securealign.models.cache import EmbeddingCache
from securealign.models.encoder import Encoder, Progress
from securealign.models.precomputed import load_embeddings


def fingerprint_of(embeddings: NDArray[np.floating]) -> str:
    """Return the hexadecimal SHA-256 of embeddings (n, d) made elsewhere, which stands for their encoder's."""
    digest = hashlib.sha256(f"{embeddings.dtype.str} {embeddings.shape}".encode())
    for first in range(0, len(embeddings), BLOCK_ROWS):
        digest.update(np.ascontiguousarray(embeddings[first : first + BLOCK_ROWS]).tobytes())
    return digest.hexdigest()


def user_cache() -> EmbeddingCache:
    """Return the user's cache of embeddings; whoever encodes block by block keeps it, so that it is read once."""
    return EmbeddingCache(cache_root() / "vectors")


def encode_cached(encoder: Encoder, texts: Sequence[str], progress: Progress | None = None) -> NDArray[np.float32]:
    """Return the embeddings (n, d) of `texts`, from the user's cache where they were made before."""
    return user_cache().encode(encoder, texts, progress=progress)


def load_public_embeddings(path: Path, public: PublicTexts) -> NDArray[np.floating]:
    """Return the rows (N, d) of the distinct public texts from a file with one row for each text of their source.

    Raises `InputError` for another number of rows. The path may name an array of several, as for `load_embeddings`.
    """
    return public.select(load_paired(path, public.in_source))


def load_paired(path: Path, count: int) -> NDArray[np.floating]:
    """Return embeddings made elsewhere; raises `InputError` unless there is one row for each of `count` texts.

    The path may name an array of several, as for `load_embeddings`.
    """
    embeddings = load_embeddings(path)
    if len(embeddings) != count:
        raise InputError(
            f"{path} has {len(embeddings)} rows for {count} texts.",
            hint="Embed exactly these texts, in their order; repeated texts count, and blank lines are no texts.",
            code=ErrorCode.SHAPE_MISMATCH,
        )
    return embeddings

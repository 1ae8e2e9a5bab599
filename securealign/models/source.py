"""Embeddings of texts from wherever a party has them: an encoder with its cache, or a file made elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from securealign.data.assets import cache_root
from securealign.errors import ErrorCode, InputError
from securealign.models.cache import EmbeddingCache
from securealign.models.encoder import Encoder, Progress
from securealign.models.precomputed import load_embeddings


def encode_cached(encoder: Encoder, texts: Sequence[str], progress: Progress | None = None) -> NDArray[np.float32]:
    """Return the embeddings (n, d) of `texts`, from the user's cache where they were made before."""
    return EmbeddingCache(cache_root() / "embeddings").encode(encoder, texts, progress=progress)


def load_paired(path: Path, texts: Sequence[str]) -> NDArray[np.floating]:
    """Return embeddings made elsewhere; raises `InputError` unless there is one row for each of `texts`."""
    embeddings = load_embeddings(path)
    if len(embeddings) != len(texts):
        raise InputError(
            f"{path} has {len(embeddings)} rows for {len(texts)} texts.",
            hint="Embed exactly these texts, in their order.",
            code=ErrorCode.SHAPE_MISMATCH,
        )
    return embeddings

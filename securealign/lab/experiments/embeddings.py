"""Embeddings of texts for experiments: models are opened by name, one at a time, and what they gave is kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from securealign.cache import cache_root
from securealign.commands import Progress
from securealign.data.digest import dataset_digest
from securealign.models import EmbeddingCache, Encoder, open_encoder

Vectors = npt.NDArray[np.float32]
#: Adds a bar to the display of progress.
AddBar = Callable[[str], Progress]


def no_bars(_description: str) -> Progress:
    """Show no progress."""
    return lambda done, total: None


@dataclass(frozen=True)
class _Closed:
    """An encoder whose model is opened only when it has texts to encode."""

    name: str
    fingerprint: str
    dimension: int
    open: Callable[[], Encoder]

    def encode(self, texts: Sequence[str], *, progress: Progress | None = None) -> Vectors:
        return self.open().encode(texts, progress=progress)


class Embeddings:
    """Embeddings of texts under encoders that are named as for `open_encoder`, cut to `max_tokens` tokens."""

    def __init__(
        self,
        *,
        max_tokens: int = 64,
        folder: Path | None = None,
        add_bar: AddBar = no_bars,
        opener: Callable[[str], Encoder] | None = None,
    ) -> None:
        self._cache = EmbeddingCache(folder if folder is not None else cache_root() / "vectors")
        self._add_bar = add_bar
        self._opener = opener or partial(open_encoder, max_tokens=max_tokens)
        self._encoders: dict[str, _Closed] = {}
        self._known: dict[tuple[str, bytes], Vectors] = {}
        self._opened: tuple[str, Encoder] | None = None

    def of(self, encoder: str, texts: Sequence[str], what: str = "texts") -> Vectors:
        """Return the embeddings (n, d) of texts, encoding what is missing; raises what `open_encoder` raises."""
        key = (encoder, dataset_digest(texts))
        if key not in self._known:
            found = self._cache.encode(self._closed(encoder), texts, progress=self._late_bar(f"{encoder}: {what}"))
            self._known[key] = np.asarray(found)
        return self._known[key]

    def _late_bar(self, description: str) -> Progress:
        """Return a report that adds its bar when it is first called, which it is only for texts that are missing."""
        bar = cache(self._add_bar)

        def report(done: int, total: int) -> None:
            bar(description)(done, total)

        return report

    def fingerprint(self, encoder: str) -> str:
        """Return the encoder's fingerprint, which says what its embeddings depend on."""
        return self._closed(encoder).fingerprint

    def dimension(self, encoder: str) -> int:
        """Return the encoder's dimension d."""
        return self._closed(encoder).dimension

    def _closed(self, name: str) -> _Closed:
        if name not in self._encoders:
            opened = self._open_once(name)
            self._encoders[name] = _Closed(name, opened.fingerprint, opened.dimension, lambda: self._open_once(name))
        return self._encoders[name]

    def _open_once(self, encoder: str) -> Encoder:
        if self._opened is None or self._opened[0] != encoder:
            self._opened = None  # before the next one takes as much memory again
            self._opened = (encoder, self._opener(encoder))
        return self._opened[1]
